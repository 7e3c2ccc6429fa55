"""What an audit says in words: what was done, on how many images, and what was not tested."""

from __future__ import annotations

from robustness_study.attacks import catalogue
from robustness_study.audit.study import Audit
from robustness_study.report.markdown import listed
from robustness_study.results.cell_results import CellResults

INTERVALS = (
    "Brackets hold 95 % intervals over images: the range in which the accuracy on other images of the same kind is "
    "expected. They do not cover another training of the same model. n is the number of images. Rows with another n "
    "are of other images: compare rows with the same n."
)
ROBUST = (
    "*Under every attack*: an image counts as correct only if it stays correct under every attack that was tried, at "
    "this ε and all smaller ones. A stronger attack can still be found, so this is an upper bound of robustness. ε is "
    "the largest change of a pixel value in [0, 1]; 1/255 is one step of an 8-bit image."
)
NO_ALARM = "No alarm was raised: no sign that an attack failed."
ALARMS = "An alarm is a sign that an attack failed in some way, so that these figures overstate robustness."
NOT_TESTED = (
    "other sizes and norms of attack (ℓ2, ℓ1, patches, spatial changes), and attacks written for this model alone",
    "images of other places, cameras or times, unless a natural set is named above",
    "images that belong to none of the classes",
    "how the results vary between trainings of the same model",
    "accuracy for groups of people or places, and any harm that a wrong prediction can do",
)


def tested(result: CellResults) -> list[str]:
    """One sentence for each kind of test, with its number of images."""
    attack, stress, dataset = result.attack, result.stress, result.evaluate["dataset"]
    clean = len(result.predictions("test_clean")[0])
    official = "the official images" if dataset["official"] else "not an official release"
    epsilons = [row["epsilon_255"] for row in attack["ladder"] if row["epsilon_255"]]
    lines = [
        f"Accuracy, recall and calibration on {clean} test images of {dataset['name']} ({official}), clean and under a "
        "mix of colour jitter, rotation, mirroring and Gaussian noise.",
        f"{len(stress.by_corruption)} corruptions at five severities (those of CIFAR-10-C, Hendrycks & Dietterich "
        f"2019, and the mix), on {stress.images} of the images.",
        f"FGSM on {attack['images']} of the images, ε = {listed([str(each) for each in epsilons])} in 1/255 (ℓ∞).",
    ]
    for entry in catalogue.ATTACKS:
        names = [name for name in attack["attacks"] if catalogue.entry_of(name) == entry]
        if names:
            images = max(attack["attacks"][name]["images"] for name in names)
            titles = "; ".join(dict.fromkeys(map(catalogue.title, names)))
            sizes = sorted({int(size) for name in names for size in attack["attacks"][name]["predictions"]})
            of = listed([str(size) for size in sizes])
            lines.append(f"{titles[0].upper()}{titles[1:]}: on up to {images} images, ε = {of} in 1/255.")
    for name in result.evaluate["natural"]:
        lines.append(f"Natural set {name.removeprefix('natural_')}: {result.row(name)['images']} images.")
    return lines


def not_tested(result: CellResults) -> list[str]:
    """What the audit says nothing about."""
    lines = [f"{each[0].upper()}{each[1:]}." for each in NOT_TESTED]
    lines.append("Calibration after temperature scaling, because no validation images are known.")
    lines.append("Nearest neighbours and a linear probe on the features, because no training images are known.")
    if result.plane is None:
        lines.append(
            "A UMAP plane: the model shows no linear layer and `--features` named none, or there are too few images."
        )
    return lines


def alarms(audit: Audit) -> list[str]:
    """A line for each alarm: model, name, reason."""
    return [
        f"{result.cell.key}: {name}: {reason}"
        for result in audit.every
        for name, reason in result.attack["alarms"].items()
    ]


def compared(audit: Audit) -> str:
    """How the differences between models are to be read."""
    return (
        "Differences in percentage points, of the same images; intervals are simultaneous and p-values are adjusted "
        f"(Holm) for {len(audit.differences)} differences. They cover which images were chosen, so they say which of "
        "these models is better. To say that one *training* is better than another takes several seeds of each."
    )
