"""One training, from flags to a run folder."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from yoloseg.data.anchor_fitting import Anchors, fit_any_anchors, letterboxed_sizes
from yoloseg.data.augment import Augmentation
from yoloseg.data.copy_paste import CopyPaste
from yoloseg.data.datafile import load_datasets
from yoloseg.data.label_plot import save_label_plot
from yoloseg.data.loader import Loader
from yoloseg.data.records import Dataset
from yoloseg.data.sampling import counts_shown, picture_weights
from yoloseg.data.summary import summary
from yoloseg.errors import UsageError
from yoloseg.evaluation.evaluate_model import evaluate, evaluate_in_detail
from yoloseg.evaluation.report import write_report
from yoloseg.evaluation.table import print_metrics
from yoloseg.modeling.detector import Detector
from yoloseg.modeling.network import MOST, USUAL, YoloSeg, load_model
from yoloseg.training import checkpoint
from yoloseg.training.callbacks import Curves, Epochs, Results, SaveState, ShowProgress, StopOnNaN, Watch
from yoloseg.training.config import TrainConfig
from yoloseg.training.curves import save_curves
from yoloseg.training.devices import alone, shared_by
from yoloseg.training.optimizers import compile_trainer
from yoloseg.training.planning import duration, evaluated_every
from yoloseg.training.recipe_file import find_recipe
from yoloseg.training.recipes import Recipe
from yoloseg.training.run_config import check_same_data, read_config, write_config
from yoloseg.training.run_folder import claimed
from yoloseg.training.samples_sheet import save_batch_sheet, save_label_sheet, save_prediction_sheet
from yoloseg.training.stages import Stage, frozen_first, stages
from yoloseg.training.trainer import Trainer
from yoloseg.training.transfer import freeze_backbone, start_from

PICTURES = (
    ("curves.png", "Losses, balancing weights where they were learned, learning rate and validation AP."),
    ("val_predictions.jpg", "Pictures spread over the validation set: ground truth left, predictions right."),
    ("labels.png", "The training set, and the anchors."),
    ("train_batch.jpg", "The first training pictures, augmented, at the full input size."),
    ("val_labels.jpg", "Pictures spread over the validation set, and their ground truth."),
)

RARE = "no class is in fewer of them than --repeat-threshold says; raise that, or try class-aware"


def train(config: TrainConfig, recipe: Recipe | None = None) -> Path:
    """Trains and returns the run folder, which then holds best.keras, last.keras, config.yaml, results.csv,
    metrics.json, report.html with its pictures, and TensorBoard events.

    recipe: in place of the one that the config names, for experiments.
    Raises YolosegError for anything that is the user's to mend, before the first step.
    """
    recipe = recipe or find_recipe(config.recipe)
    started = time.monotonic()
    console = Console(highlight=False)
    with claimed(config) as folder:
        progress = made = None
        if config.resume:
            progress = checkpoint.read_progress(folder)
            made = read_config(config, recipe, folder)
        datasets = load_datasets(config.data, ("train", "val"))
        if made is not None:
            check_same_data(made, datasets, folder)
        for dataset in datasets.values():
            console.print(summary(dataset), markup=False)
        with precision(config.precision), shared_by(config.devices, config.batch or recipe.batch):
            _train(config, recipe, folder, datasets, progress, made, started, console)
        with precision("float32"):
            finish(folder, datasets["val"], console)
    return folder


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """A block in which layers are made in this number format."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _train(
    config: TrainConfig,
    recipe: Recipe,
    folder: Path,
    datasets: dict[str, Dataset],
    progress: checkpoint.Progress | None,
    made: dict | None,
    started: float,
    console: Console,
) -> None:
    """From the data to best.keras. progress, made: of a run that is resumed; one that was stopped before its
    first epoch was saved is made again."""
    batch = config.batch or recipe.batch
    keras.utils.set_random_seed(config.seed)
    as_made = made if progress is not None and progress.weights else None
    model, loaded = build_model(config, recipe, datasets["train"], console, as_made)
    if model.max_detections > USUAL:
        console.print(f"full pictures: {model.max_detections} detections of each are kept, not {USUAL}")
    slower = rate_factors(model, loaded, config.loaded_rate)
    frozen = frozen_epochs(config, recipe)
    if frozen == math.inf:
        freeze_backbone(model)
    loader = build_loader(config, recipe, batch, datasets["train"])
    if config.sampling == "repeat-factor" and np.ptp(loader.weights) == 0:
        console.print(f"--sampling repeat-factor shows all pictures alike: {RARE}")
    trainer = Trainer(model, recipe, config.seed, counts_shown(datasets["train"], loader.weights))
    trainer.rate_factors.update(slower)
    if progress is None:
        epochs, steps = duration(config, recipe, trainer, loader, datasets["val"], frozen, started, console)
        progress = checkpoint.Progress(0, epochs, steps, 0.0, -1.0)
    total = progress.epochs * progress.steps_per_epoch
    if config.accumulate > total:
        raise UsageError(f"--accumulate {config.accumulate}: the whole training has only {total} batches")
    first = min(frozen, progress.epochs) * progress.steps_per_epoch
    if config.accumulate > first > 0 and progress.epoch < frozen:
        raise UsageError(
            f"--accumulate {config.accumulate}: the backbone is frozen for the first {first} batches, which "
            "would teach nothing; lower it, or give --freeze none, without --freeze-epochs"
        )
    if 0 < first < total < first + config.accumulate:
        raise UsageError(
            f"--accumulate {config.accumulate}: once the backbone is no longer frozen only {total - first} "
            "batches are left, which would teach nothing; lower it, or --freeze-epochs"
        )
    set_augmentation(loader, recipe, progress.epochs)
    if progress.epochs < recipe.short:
        console.print(f"fewer than {recipe.short} epochs: no augmentation but flips, pictures at full size")
    parts = stages(recipe, progress.epochs, loader.imgsz, config.seed)
    parts = frozen_first(parts, min(frozen, progress.epochs))
    if as_made is None:
        write_config(folder, config, recipe, progress, parts, datasets, loader, model, loaded)
        draw_data(folder, datasets, loader, model)
        checkpoint.save_start(folder, progress)

    def prepare(part: Stage) -> None:
        """For the stages from this one on: what is frozen takes another optimizer."""
        count = freeze_backbone(model, part.frozen)
        if frozen:
            what = "frozen" if part.frozen else "no longer frozen"
            console.print(f"{what} from epoch {part.first + 1} on: {count} layers of the backbone")
        done = 0 if part.frozen else min(frozen, progress.epochs)  # epochs by the optimizer before
        compile_trainer(trainer, recipe, total, config.accumulate, int(done) * progress.steps_per_epoch)

    current = next(part for part in parts if part.last >= max(progress.epoch, 1))  # which made the state
    prepare(current)
    if made is not None:
        checkpoint.load_state(folder, trainer, progress)
        console.print(f"resuming after epoch {progress.epoch} of {progress.epochs}")
    after = parts[parts.index(current) :]
    fit(trainer, loader, datasets["val"], folder, progress, after, prepare, config.patience)


def frozen_epochs(config: TrainConfig, recipe: Recipe) -> float:
    """How many first epochs have the backbone frozen; infinity for all."""
    if config.freeze == "backbone":
        return config.freeze_epochs or math.inf
    return recipe.frozen_epochs if config.weights and config.freeze is None else 0


def rate_factors(model: YoloSeg, loaded: Sequence[str], factor: float) -> dict[str, float]:
    """Factors on the learning rate of the variables of these layers, by path; none where it is 1. Those
    of layers that are frozen at first are among them."""
    if factor == 1:
        return {}
    layers = [*model.network.layers, *model.mask_subnet.layers]
    return {v.path: factor for layer in layers if layer.name in loaded for v in layer.trainable_variables}


def build_model(
    config: TrainConfig, recipe: Recipe, dataset: Dataset, console: Console, made: dict | None = None
) -> tuple[YoloSeg, tuple[str, ...]]:
    """A network for the data: fresh, or started from --weights; and the layers that were loaded.

    Anchors are those of --anchors, else of a .keras file, else fitted. made: the config.yaml of a run that is
    resumed; everything is as it was there, and its weights are not read: the state has them.
    """
    most = config.max_detections or room_for(dataset)
    settings = {"imgsz": config.input_size, "nms_iou": recipe.nms_iou, "max_detections": most}
    if made is not None:
        anchors = tuple(tuple(map(tuple, level)) for level in made["anchors"])
        settings["classes_per_anchor"] = made["classes per anchor"]
        return YoloSeg(config.size, dataset.classes, anchors, **settings), tuple(made["loaded layers"])
    start = load_model(config.weights) if config.weights and config.weights.suffix == ".keras" else None
    if start is not None and start.size != config.size:
        raise UsageError(f"{config.weights} is of size {start.size}; give --size {start.size}")
    if start is not None and config.anchors is None:
        sizes, settings["classes_per_anchor"] = start.anchors, start.classes_per_anchor
        console.print(f"anchors and head layout of {config.weights}")
        if start.imgsz != config.input_size:
            console.print(f"its anchors are for pictures of {start.imgsz}, not {config.input_size}")
    else:
        anchors = choose_anchors(config, recipe, dataset, console)
        sizes, settings["classes_per_anchor"] = anchors.sizes, recipe.classes_per_anchor
    model = YoloSeg(config.size, dataset.classes, sizes, **settings)
    loaded: tuple[str, ...] = ()
    if config.weights is not None:
        transfer = start_from(start or config.weights, model, config.until)
        console.print(str(transfer), markup=False)
        if start is not None and start.reid_head is not None:
            console.print("its re-identification head is left out: train-reid makes a new one of the result")
        loaded = transfer.loaded
    return model, loaded


def choose_anchors(config: TrainConfig, recipe: Recipe, dataset: Dataset, console: Console) -> Anchors:
    """Those of --anchors, else fitted to the data."""
    if config.anchors is not None:
        anchors = Anchors.from_json(config.anchors)
        if tuple(anchors.imgsz) != config.input_size:
            raise UsageError(
                f"{config.anchors} was fitted at {anchors.imgsz}, this training is at {config.input_size}"
            )
    else:
        boxes = letterboxed_sizes(dataset, config.input_size)
        anchors, distinct = fit_any_anchors(
            boxes,
            recipe.anchors_per_level,
            imgsz=config.input_size,
            seed=config.seed,
            source=dataset.name,
        )
        if distinct is not None:
            console.print(
                f"only {distinct} sizes of boxes: anchors are fitted to them and to multiples of them"
            )
    console.print(
        f"anchors: {anchors.per_level} a level, mean best IoU {anchors.mean_best_iou:.3f}, "
        f"recall {anchors.recall50:.3f} at 0.5, {anchors.recall70:.3f} at 0.7"
    )
    return anchors


def room_for(dataset: Dataset) -> int:
    """Detections of a picture that the network is to keep: the usual ones, or enough for the fullest, as far
    as there is memory to suppress them."""
    fullest = max(sum(not one.crowd for one in record.annotations) for record in dataset.records)
    return min(max(USUAL, 100 * math.ceil(fullest / 100)), MOST)


def build_loader(config: TrainConfig, recipe: Recipe, batch: int, dataset: Dataset) -> Loader:
    """Training batches, augmented; room for the fullest picture and, where others are mixed in, for nine
    tenths of these."""
    counts = [len(record.annotations) for record in dataset.records]
    room = max(counts)
    if recipe.augmentation.mosaic:
        room += 3 * int(np.quantile(counts, 0.9))
    if recipe.augmentation.copy_paste:
        room += CopyPaste.most
    return Loader(
        dataset,
        config.input_size,
        batch,
        augment=recipe.augmentation.transforms(),
        max_instances=max(room, 1),
        weights=picture_weights(dataset, config.sampling, config.repeat_threshold),
        seed=config.seed,
        workers=config.workers,
    )


def set_augmentation(loader: Loader, recipe: Recipe, epochs: int) -> None:
    """What a training of so many epochs does to its pictures."""
    augmentation = recipe.augmentation
    if epochs < recipe.short:
        augmentation = Augmentation(flip=augmentation.flip)
    closing = augmentation.without_mixing().transforms()
    loader.augment_by(augmentation.transforms(), closing, math.ceil(recipe.mixing * epochs))


def draw_data(folder: Path, datasets: dict[str, Dataset], loader: Loader, model: YoloSeg) -> None:
    """labels.png, train_batch.jpg and val_labels.jpg."""
    anchors = np.array(model.anchors).reshape(-1, 2)
    save_label_plot(datasets["train"], loader.imgsz, folder / "labels.png", anchors)
    save_batch_sheet(loader, model.classes, folder / "train_batch.jpg")
    save_label_sheet(datasets["val"], folder / "val_labels.jpg")


def fit(
    trainer: Trainer,
    loader: Loader,
    val: Dataset,
    folder: Path,
    progress: checkpoint.Progress,
    parts: list[Stage],
    prepare: Callable[[Stage], None],
    patience: int | None = None,
) -> None:
    """Keras' fit, once a stage, with our callbacks before Keras' own loggers. parts: from the one that the
    trainer is prepared for on. prepare: called with a stage where what is frozen changes."""
    if patience is not None and progress.stale >= patience:
        return  # it had ended when it was killed
    with alone(), precision("float32"):
        averaged = YoloSeg.from_config(trainer.yoloseg.get_config())
        if progress.score_threshold is not None:
            averaged.score_threshold = progress.score_threshold
        detector = Detector(averaged)

    def measure(model: YoloSeg) -> dict:
        with alone(), precision("float32"):
            return evaluate(model, val, detector=detector, progress=False)

    watch = Watch(averaged, measure, folder, progress, evaluated_every(progress.epochs), patience)
    show = ShowProgress(progress.epochs, progress.steps_per_epoch, progress.epoch)
    callbacks = [
        Epochs(loader),
        StopOnNaN(),
        watch,
        Results(folder / "results.csv", progress.epoch),
        SaveState(watch, folder, progress),
        show,  # who reads its lines may be gone, which ends the run: after the state is saved
        Curves(folder),
        keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False),
    ]
    functions = {}  # by size: pictures of another size are another graph
    frozen = parts[0].frozen
    try:
        for stage in parts:
            if stage.last <= progress.epoch:
                continue
            if frozen != stage.frozen:
                prepare(stage)
                functions.clear()
            frozen = stage.frozen
            loader.output_size = stage.imgsz
            trainer.train_function = functions.get(stage.imgsz)
            with loader.data_errors():
                trainer.fit(
                    loader,
                    epochs=stage.last,
                    initial_epoch=max(stage.first, progress.epoch),
                    steps_per_epoch=progress.steps_per_epoch,
                    shuffle=False,
                    verbose=0,
                    callbacks=callbacks,
                )
            functions[stage.imgsz] = trainer.train_function
            if trainer.stop_training:
                break
    finally:
        show.bar.stop()  # gives the terminal back, which Keras' fit forgets when it is interrupted


def finish(folder: Path, val: Dataset, console: Console) -> None:
    """Draws what best.keras sees and prints its metrics; from here on there is nothing to resume."""
    model = load_model(folder / "best.keras")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    save_prediction_sheet(model, val, folder / "val_predictions.jpg")
    save_curves(folder / "results.csv", folder / "curves.png")
    notes = [f"best.keras is of epoch {metrics['epoch']}; evaluated on {len(val)} pictures of {val.name}."]
    evaluation = evaluate_in_detail(model, val, progress=False)
    write_report(folder, evaluation, val, f"{folder.name}: size {model.size}", notes, PICTURES)
    checkpoint.remove_state(folder)
    print_metrics(metrics, console)
    threshold = f"its score threshold, {model.score_threshold:.3f}, has the best mask F1"
    if metrics["best_f1_threshold"] < 0:
        threshold = f"no mask found an object; its score threshold is {model.score_threshold:.3f}"
    console.print(f"best.keras is of epoch {metrics['epoch']}; {threshold}")
    console.print(f"written to {folder}; open {folder / 'report.html'}")
