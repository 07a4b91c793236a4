"""What was measured beside the test figures, as a model card shows it: probes, input gate, ablation, a table each.

The forms are those of ``probe.json`` and ``ablation.json`` as the commands write them, and of the gate in
``metadata.json``; of any other form all is shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from training.card_results import WITHIN, interval_text, view_rule_text
from training.markdown import escape, paragraphs, table
from training.measurement_text import measurement_text

_AREA: Final = "roc_auc"


def probe_section(probe: Mapping[str, Any]) -> str:
    """Write what a model goes by, Markdown."""
    if not {"metrics", "altered", "part", "images"} <= probe.keys():
        return measurement_text(probe)
    columns = ["accuracy", _AREA, *(name for name in probe["metrics"] if name.startswith(WITHIN))]
    as_they_are = {"as they are": probe["metrics"]}
    altered = {name: of["metrics"] for name, of in probe["altered"].items()}
    rows = [[escape(name), *_figures(of, columns)] for name, of in {**as_they_are, **altered}.items()]
    counts = " and ".join(f"{count:,} {label}" for label, count in probe["images"].items())
    return paragraphs(
        f"The same model on altered images of the {probe['part']} part ({counts}). What is far above 0.5 without the "
        "lungs is a shortcut.",
        table(["images", *map(_column, columns)], rows),
        _sources_told(probe.get("sources_told", {})),
    )


def probe_at_a_glance(probe: Mapping[str, Any]) -> Iterator[str]:
    """Tell what is left without the lungs, where it was measured."""
    for name in ("lungs covered", "borders only"):
        left = probe.get("altered", {}).get(name, {}).get("metrics", {}).get(_AREA)
        if left:
            yield f"{name} {interval_text(left)}"


def gate_section(record: Mapping[str, Any] | None, measured: Mapping[str, Any] | None) -> str:
    """Write what the input gate refuses and lets through, Markdown.

    Args:
        record: As ``metadata.json`` holds it; None: it holds none.
        measured: As the gate's own command wrote it after the export; None: it did not.
    """
    return paragraphs(
        "What is refused as no upright frontal chest radiograph, on images that the gate was not fitted to.",
        _gate_record(record) if record else "",
        _gate_measured(measured) if measured else "",
    )


def _gate_record(gate: Mapping[str, Any]) -> str:
    parts = [part for part in ("validation", "test") if isinstance(gate.get(part), dict)]
    if not parts or any(of.keys() != {"images", "as_expected"} for part in parts for of in gate[part].values()):
        return measurement_text(gate)
    fitted = ", ".join(f"{count:,} {escape(kind)}" for kind, count in gate.get("fitted_on", {}).items())
    kinds = dict.fromkeys(kind for part in parts for kind in gate[part])
    rows = [[escape(kind), *(_count(gate[part].get(kind), "as_expected") for part in parts)] for kind in kinds]
    return paragraphs(
        f"Fitted on {fitted or 'nothing that is known'}. Let through, or named as what they were made to be:",
        table(["radiographs", *parts], rows),
    )


def _gate_measured(gate: Mapping[str, Any]) -> str:
    known = {
        "radiographs": "as they should be",
        "negatives": "refused",
        "negatives_in_grey": "refused if all were grey",
    }
    if not isinstance(gate.get("radiographs"), dict):
        return measurement_text(gate)
    tables = [
        table(
            ["images", what, "95 % interval"],
            [
                [escape(kind), _count(rate, "right"), f"{rate['low']:.1%} to {rate['high']:.1%}"]
                for kind, rate in gate[name].items()
            ],
        )
        for name, what in known.items()
        if gate.get(name)
    ]
    return paragraphs(f"Measured since, on {escape(str(gate.get('images', 'radiographs')))}:", *tables)


def _count(of: Mapping[str, int] | None, right: str) -> str:
    if not of or not of["images"]:
        return "none"
    return f"{of[right]:,} of {of['images']:,} ({of[right] / of['images']:.1%})"


def ablation_section(ablation: Mapping[str, Any]) -> str:
    """Write what recipes are worth beside each other, Markdown."""
    recipes = _recipes(ablation)
    if not recipes:
        return measurement_text(ablation)
    columns = ["accuracy", _AREA, *(name for name in recipes[0]["metrics"] if name.startswith(WITHIN))]
    covered = list(recipes[0].get("covered", {}))
    rows = [
        [
            escape(recipe["name"]),
            *_figures(recipe["metrics"], columns),
            *(interval_text(recipe.get("covered", {}).get(name, {}).get(_AREA)) for name in covered),
        ]
        for recipe in recipes
    ]
    held_out = "with" if ablation.get("include_test") else "without"
    changes = [
        f"- {escape(recipe['name'])}: {escape(recipe['changes'])}." for recipe in recipes if recipe.get("changes")
    ]
    listed = "\n".join(changes)
    return paragraphs(
        f"Recipes cross-validated by group, {held_out} the test part among the images; at the right the ROC AUC of the "
        "same models without the lungs.",
        table(["recipe", *map(_column, columns), *(f"ROC AUC, {escape(name)}" for name in covered)], rows),
        *(f"{view_rule_text(source, rule)}." for source, rule in ablation.get("view_rules", {}).items()),
        f"What differs from the first ('there'):\n\n{listed}" if changes else "",
    )


def ablation_at_a_glance(ablation: Mapping[str, Any]) -> Iterator[str]:
    """Tell what recipes are worth within a source, beside knowing the view alone, where that was measured."""
    for source, rule in ablation.get("view_rules", {}).items():
        inside = [recipe["metrics"].get(f"{WITHIN}{source}") for recipe in _recipes(ablation)]
        values = [of["value"] for of in inside if of]
        if values:
            figures = f"{min(values):.3f} to {max(values):.3f}"
            yield f"{view_rule_text(source, rule)}; cross-validated, recipes have {figures} there."


def _recipes(ablation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the measured recipes; none where they have another form."""
    recipes = ablation.get("recipes")
    if isinstance(recipes, list) and all("metrics" in recipe for recipe in recipes):
        return recipes
    return []


def _sources_told(told: Mapping[str, Any]) -> str:
    if not told:
        return ""
    rows = [
        [escape(name), interval_text(of["balanced_accuracy"]), f"{of['majority_balanced_accuracy']:.3f}"]
        for name, of in told.items()
    ]
    return paragraphs(
        "How well the source can be told from the model's features:",
        table(["images", "balanced accuracy", "always the most frequent source"], rows),
    )


def _figures(metrics: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    return [interval_text(metrics.get(name)) for name in columns]


def _column(name: str) -> str:
    if name.startswith(WITHIN):
        return f"AUC within {escape(name.removeprefix(WITHIN))}"
    return "ROC AUC" if name == _AREA else name
