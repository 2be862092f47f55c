"""A shallow stand-in for the network, where a test is about a training and not about the network: half of
the convolutions, a third of the BatchNorms, every stage one convolution. It is traced in half the time."""

from unittest.mock import patch

from yoloseg.modeling import architecture


def one_convolution(x, filters, *, split, repeats, act, name, hidden=None):
    return architecture.conv(x, filters, 3, stride=2, act=act, name=f"{name}_merge")


def no_pooling(x, size):
    act = size.neck_activation
    return architecture.conv(x, size.channels(512), 1, act=act, name="spp_out2")


def one_mix(x, filters, *, pairs, act, name):
    return architecture.conv(x, filters, 1, act=act, name=f"{name}_mix{2 * pairs}")


def small():
    """A context in which networks, whatever their size, are built like that."""
    return patch.multiple(
        architecture, csp_stage=one_convolution, spatial_pyramid_pooling=no_pooling, mixed=one_mix
    )
