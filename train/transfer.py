"""Is a training that starts from other classes' weights sooner where one from scratch ends?

    python train/transfer.py --data animals.yaml --out runs/transfer

Divides the classes of a set: `n` is trained on all but the last --apart of them, then there are three
trainings on those: one from scratch, one from these weights (all but the class logits fit), and one from
them with a schedule of half the epochs. Writes transfer.csv and transfer.png, mask AP over steps. What was
measured is in train/transfer.md.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import tyro

from yoloseg.data.classes import choose_classes
from yoloseg.data.convert import write_datasets
from yoloseg.data.datafile import load_datasets
from yoloseg.training.checkpoint import STATE, resumable
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.run import train


@dataclass
class Options:
    """Pre-train on some classes, fine-tune on the others, and compare with scratch."""

    data: str
    """A data file with train and val."""
    apart: int = 2
    """How many of the classes are kept for fine-tuning, from the last on."""
    before: int = 24
    """Epochs of the training on the others."""
    epochs: int = 24
    """Of the two that are compared; a third one, from the weights, is planned for half of them."""
    imgsz: int = 192
    """Network input."""
    seed: int = 0
    """Of all three."""
    out: Path = Path("runs/transfer")
    """Folder for data and runs."""


def part(datasets: dict, names: tuple[str, ...], folder: Path) -> Path:
    """The pictures that show these classes, as a data set of its own."""
    path = folder / "data.yaml"
    if not path.exists():
        chosen = {}
        for split, dataset in datasets.items():
            dataset = choose_classes(dataset, names, dataset.name)
            shown = [record for record in dataset.records if record.annotations]
            chosen[split] = replace(dataset, records=shown, problems=[])
        path, _ = write_datasets(chosen, "coco", folder)
    return path


def trained(data: Path, options: Options, epochs: int, out: Path, weights: Path | None = None) -> Path:
    if (out / "metrics.json").exists() and not (out / STATE).exists():
        return out
    config = TrainConfig(
        data=str(data),
        imgsz=(options.imgsz,),
        epochs=epochs,
        seed=options.seed,
        weights=weights,
        out=out,
        resume=resumable(out),
    )
    # one size: the smaller stage of the recipe would be nearly half of what --imgsz asks for
    return train(config, replace(DEFAULT, stages=((1.0, 1.0),)))


def curve(run: Path, steps: int) -> list[tuple[int, float, float]]:
    """(steps, mask AP, mask AP50) at each evaluation."""
    rows = csv.DictReader((run / "results.csv").open())
    found = [(int(row["epoch"]) + 1, row["mask_AP"], row["mask_AP50"]) for row in rows]
    return [(epoch * steps, float(ap), float(ap50)) for epoch, ap, ap50 in found if ap not in ("", "nan")]


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    datasets = load_datasets(options.data)
    names = datasets["train"].classes
    others, kept = names[: -options.apart], names[-options.apart :]
    first = part(datasets, others, options.out / "others")
    second = part(datasets, kept, options.out / "kept")
    before = trained(first, options, options.before, options.out / "before")
    best, half = before / "best.keras", options.epochs // 2
    runs = {
        "from scratch": trained(second, options, options.epochs, options.out / "scratch"),
        f"from weights of {len(others)} other classes": trained(
            second, options, options.epochs, options.out / "tuned", best
        ),
        f"from these weights, {half} epochs": trained(second, options, half, options.out / "half", best),
    }
    steps = len(load_datasets(second)["train"]) // DEFAULT.batch
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    with (options.out / "transfer.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("run", "steps", "mask_AP", "mask_AP50"))
        for label, run in runs.items():
            points = curve(run, steps)
            writer.writerows((label, *point) for point in points)
            axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=label)
            print(label, *(f"{done}: {ap:.3f}" for done, ap, _ in points))
    axes.set(xlabel="steps", ylabel="mask AP", title=f"{', '.join(kept)} ({options.imgsz} pixels)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(options.out / "transfer.png", dpi=100)


if __name__ == "__main__":
    main()
