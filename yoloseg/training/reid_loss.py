"""What makes vectors of one instance alike and those of different instances unlike."""

from __future__ import annotations

from keras import ops

from yoloseg.training.losses import masked_mean

EMPTY = -1  # id of a row that is none
_NOTHING = -1e9  # a logit that counts for nothing in a sum of powers


def related(ids):
    """(same, other), float32 [N, N] of 0 and 1: which pairs of rows are of one instance, which of two.

    ids: int32 [N], EMPTY for rows that are none: these, and each row with itself, are neither.
    """
    real = ops.cast(ids != EMPTY, "float32")
    pairs = real[:, None] * real[None]
    equal = ops.cast(ops.equal(ids[:, None], ids[None]), "float32")
    return pairs * equal * (1.0 - ops.eye(ids.shape[0])), pairs * (1.0 - equal)


def contrastive_loss(vectors, ids, temperature: float):
    """Mean over the rows v of log(1 + sum over k+ and k- of exp((v . k- - v . k+) / temperature)), k+ being
    the other rows of its instance, k- the rows of all other instances.

    Quasi-dense similarity learning (arXiv 2006.06664, section 3.2; IDOL, arXiv 2207.10661, section 3.2), for
    vectors of length 1, which need the temperature. vectors: float32 [N, E]; ids: int32 [N] as `related` has
    them. Rows without k+ or without k- do not count. 0 where none counts.
    """
    same, other = related(ids)
    logits = ops.matmul(vectors, ops.transpose(vectors)) / temperature
    # the double sum is the product of sum exp(k-) and sum exp(-k+)
    pull = ops.logsumexp(ops.where(same > 0, -logits, _NOTHING), axis=-1)
    push = ops.logsumexp(ops.where(other > 0, logits, _NOTHING), axis=-1)
    counts = ops.cast(ops.logical_and(ops.any(same > 0, axis=-1), ops.any(other > 0, axis=-1)), "float32")
    return masked_mean(ops.softplus(ops.where(counts > 0, pull + push, 0.0)), counts)[0]


def cosine_loss(vectors, ids):
    """The auxiliary loss of the same section, (cosine - c)^2 with c 1 for pairs of one instance and 0 for
    others: its mean over the former plus its mean over the latter, of which there are many more."""
    same, other = related(ids)
    cosine = ops.matmul(vectors, ops.transpose(vectors))
    return masked_mean(ops.square(cosine - 1.0), same)[0] + masked_mean(ops.square(cosine), other)[0]
