"""The explanations in the report that do not depend on its results."""

from __future__ import annotations

from robustness_study.core.cell import Cell
from robustness_study.results.families import LEVEL

BEYOND_ACCURACY = (
    "All values are for test images, clean or corrupted. The *worst class* is the class with the lowest recall; it may "
    "differ between seeds. *Correct when corrupted, among images correct when clean*: of the images that are "
    "classified correctly without the corruption, the share that are still classified correctly with it. Calibration "
    "error (15 bins) and negative log-likelihood are computed from each loss's own logits, so they also depend on how "
    "the loss scales its logits. *After temperature scaling*: the logits are divided by one number for each model, the "
    "*temperature*, which makes the likelihood of its clean validation images highest. This changes no prediction. A "
    "temperature above 1 means that the model was too confident. *Noise*, *blur*, *weather*, *digital*: the mean over "
    "the corruptions of the suite in this family, and over severities. Angles are means over pairs of test images, of "
    "the same class (*within*) or of different classes (*between*). *Features* are those of the backbone; they are "
    "never negative, so no angle exceeds 90°. *Embeddings* are what some heads compute from the features; for other "
    "heads the entry is empty."
)
RECALL = (
    "The recall of a class is the share of its test images that are classified correctly. The arrow means: training "
    "set → test images."
)
NUMBERS = (
    "The table begins with the number of each class, counted from 0. Pictures give it, as in `3: …`, where they do not "
    "show a name in full: because the name is long, or because their font lacks some of its characters. In the names, "
    "`␣` stands for a space at an end or next to another space, and `\\u` with a number for a character that nobody "
    "sees."
)
LOWEST = (
    "The table has the {shown} classes with the lowest recall (mean over the columns) of {of}, the lowest first. The "
    "file [tables/recall_per_class.csv](tables/recall_per_class.csv) has every class, in the order of their numbers."
)
MODELS = (
    "- **Names.** A *model* is a network trained with one loss, on one training set, with one seed. The *seed* decides "
    "the split into training and validation images, the initial weights and the order of images. `{loss}, {train_set}` "
    "means: trained with the loss `{loss}` on the training set `{train_set}`, all seeds together. `{key}` is the model "
    "of seed {seed}. *clean → corrupted* means: trained on clean images, tested on corrupted images."
)
EPSILON = (
    "- **ε** is the largest change of a pixel value that an attack may make, where pixel values lie in [0, 1]. The "
    "unit 1/255 is one step of an 8-bit image."
)
ALARM = (
    "- An **alarm** is a sign that an attack did not work well, so that its results may overstate robustness. An alarm "
    "is *accepted* if `params.yaml` names it; then the results are shown, and the report gives the reason."
)
FEATURES = (
    "Measures of the features of clean test images and of their UMAP plane. `trustworthiness` (0 to 1): how far a "
    "point's neighbours in the plane are also near it in the features. `neighbour_purity_…`: the share of a point's "
    "nearest neighbours that have its class, in the features or in the plane. `silhouette_features`: the mean "
    "silhouette coefficient of the classes in the features. `index_recall`: the share of the true nearest neighbours "
    "that UMAP's approximate search found; empty if its search was exact. `median_displacement_spreads_…`: the median "
    "distance in the plane between an image and its corrupted or attacked copy, both transformed, or (`clean`) between "
    "its fitted and its transformed point. The unit is the plane's root-mean-square radius."
)
CORRUPTED_ONCE = "No interval covers the randomness of the corruptions: each image was corrupted once."


def how_to_read(first: Cell, seeds: int) -> str:
    """A list that says what names, n, ±, brackets, p, simultaneous intervals, "not distinguishable", ε and alarms mean.

    `first` is the model that serves as the example; `seeds` is the number of seeds.
    """
    names = MODELS.format(loss=first.loss, train_set=first.train_set, seed=first.seed, key=first.key)
    if seeds == 1:
        numbers = [
            "- **n** is the number of seeds, here n = 1 seed. So there is no standard deviation.",
            "- **Brackets** give the 95 % interval over images. It does not cover how models of other seeds would "
            f"differ. Calibration error, negative log-likelihood and angles have none. {CORRUPTED_ONCE}",
        ]
        return "\n".join([names, *numbers, EPSILON, ALARM])
    numbers = [
        f"- **n** is the number of seeds, here n = {seeds} seeds.",
        "- **±** gives the standard deviation over seeds (ddof = 1), after the mean over seeds.",
        "- **Brackets** give a 95 % interval over seeds and images: it covers the choice of both. There are two "
        "exceptions. The interval is over seeds alone for `train_…` and `val_…` accuracies, calibration error, "
        "negative log-likelihood and angles. It is over seeds and test images for the generalisation gap. If there is "
        f"no bracket, the value is the same for every seed, and no interval can be computed. {CORRUPTED_ONCE}",
        "- **p** is the probability of a difference at least as large as the observed one, in either direction, if "
        "there were no true difference. It is adjusted for the number of tests (Holm), unless it is McNemar's p.",
        "- **Simultaneous** intervals are wider than others: in about 95 % of studies, all intervals of the table "
        "hold their true values.",
        f"- **Not distinguishable** (from chance) means that the adjusted p is not below {LEVEL}. It does not mean "
        "that two models are equal.",
    ]
    return "\n".join([names, *numbers, EPSILON, ALARM])
