"""The data card: what a data set consists of and what can go wrong with it, for people and for programs."""

from pathlib import Path
from typing import Final

from training.data_facts import NOT_KNOWN, DataFacts, Property
from training.duplicates import MISSED, Duplicates
from training.manifest import LABELS, POSITIVE
from training.markdown import escape, table

_INTENDED_USE: Final = (
    "For research on, and teaching of, classifiers of chest X-rays, and to judge what a figure measured on these "
    "images is worth. Not a sample of any hospital's patients: how frequent a disease, view, age or sex is here says "
    "nothing about elsewhere. Labels are those of the sources. Do not try to find out who the patients are, and keep "
    "to the licences."
)

_PROPERTY_NAMES: Final = {"shape": "Shape", "source": "Source", "view": "View", "age": "Age in years", "sex": "Sex"}


def write_data_card(facts: DataFacts, out: Path) -> Path:
    """Write ``data_card.md`` and ``data_card.json``.

    Args:
        facts: As measured.
        out: Folder of both; made if missing.

    Returns:
        The Markdown file.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "data_card.json").write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")
    path = out / "data_card.md"
    path.write_text(data_card(facts), encoding="utf-8")
    return path


def data_card(facts: DataFacts) -> str:
    """Write the card as Markdown."""
    sections = [
        "# Data card",
        f"{_images(facts)} images. Digest of the manifest: `{facts.manifest_digest[:16]}`. "
        "For research and teaching; no patient is named here.",
        "## What to know first",
        "\n".join(f"- {sentence}" for sentence in _findings(facts)),
        "## Intended use",
        _INTENDED_USE,
        "## Counts",
        _counts(facts),
        "## Licences",
        _licences(facts),
        "## Split",
        _split(facts),
        "## Stored sizes",
        _sizes(facts),
        "## Duplicates",
        _duplicates(facts),
        "## What gives the class away",
        _properties(facts),
        "## File names",
        _older_set(facts),
        "## Left out",
        _skipped(facts),
    ]
    return "\n\n".join(sections) + "\n"


def _findings(facts: DataFacts) -> list[str]:
    findings = [
        _how_split(facts),
        _single_class_sources(facts),
        f"What tells the class without a look at a lung: {_best_rules(facts)}.",
        f"Equal files: {_pairs(facts.exact_duplicates)}. Near-duplicates: {_pairs(facts.near_duplicates)}.",
    ]
    if any(facts.older_set_names.values()):
        findings.append(_older_set(facts))
    if any(facts.skipped.images.values()):
        findings.append(_skipped(facts).split("\n")[0])
    return findings


def _single_class_sources(facts: DataFacts) -> str:
    known = {name: part.images for name, part in facts.sources.items() if name != NOT_KNOWN}
    if not known:
        return "Sources are not known: whether a model tells the source and not the disease cannot be seen here."
    both = {name: counts for name, counts in known.items() if all(counts.values())}
    named = ", ".join(f"{name} ({' and '.join(f'{n:,}' for n in counts.values())})" for name, counts in both.items())
    shared = f"Both classes are in {named}: the figures within these say most." if both else "No source holds both."
    return (
        f"{len(known) - len(both)} of {len(known)} sources hold a single class: a model that tells sources apart tells "
        f"the classes apart. {shared}"
    )


def _best_rules(facts: DataFacts) -> str:
    rules = {name: of for name, of in facts.properties.items() if of.known}
    ranked = sorted(rules, key=lambda name: _gain(rules[name]), reverse=True)
    return "; ".join(f"{name}, {_rule(rules[name])}" for name in ranked)


def _how_split(facts: DataFacts) -> str:
    split = facts.split
    if split.grouped_images == 0:
        return (
            "The split is by image: no patients or groups are known (no column `group` in metadata.csv). Images of one "
            "patient may be in two parts, and test results may be too good."
        )
    several = split.groups_in_several_parts
    nowhere = f"{several} groups are in more than one part" if several else "no group is in more than one part"
    if split.grouped_images == _total(facts):
        return f"The split is by group, known for every image: {nowhere}."
    return (
        f"The split is by group for {split.grouped_images:,} of {_images(facts)} images: {nowhere}. The others have no "
        "group in metadata.csv and are split by image: patients among them may be in two parts."
    )


def _counts(facts: DataFacts) -> str:
    named = {**facts.sources, "**all**": facts.total}
    header = ["source", *LABELS, "images", "groups"]
    return table(header, [[name, *_row(part.images), f"{part.groups:,}"] for name, part in named.items()])


def _licences(facts: DataFacts) -> str:
    rows = [[escape(name), *_row(counts)] for name, counts in facts.licences.items()]
    note = "As the sources give them. An image without a stated licence allows no more than research, if that."
    return f"{note}\n\n{table(['licence', *LABELS, 'images'], rows)}"


def _split(facts: DataFacts) -> str:
    rows = [[name, *_row(part.images), f"{part.groups:,}"] for name, part in facts.split.parts.items()]
    groups = "groups" if facts.split.grouped_images else "groups (each image its own)"
    return f"{_how_split(facts)} Seed {facts.split.seed}.\n\n{table(['part', *LABELS, 'images', groups], rows)}"


def _sizes(facts: DataFacts) -> str:
    rows = [
        [of.label, of.source, f"{of.images:,}", of.smallest, of.median, of.largest, f"{of.square_share:.0%}"]
        for of in facts.sizes
    ]
    header = ["class", "source", "images", "smallest", "median", "largest", "square"]
    return f"Width x height in pixels, by area.\n\n{table(header, rows)}"


def _duplicates(facts: DataFacts) -> str:
    exact, near = facts.exact_duplicates, facts.near_duplicates
    rows = [
        ["pairs", f"{exact.pairs:,}", f"{near.pairs:,}"],
        ["images in them", f"{exact.images:,}", f"{near.images:,}"],
        ["pairs of different groups", f"{exact.between_groups:,}", f"{near.between_groups:,}"],
        ["pairs of different classes", f"{exact.between_classes:,}", f"{near.between_classes:,}"],
        *(
            [f"pairs {_where(parts)}", f"{exact.by_parts[parts]:,}", f"{near.by_parts[parts]:,}"]
            for parts in sorted(exact.by_parts, key=lambda parts: "/" in parts)
        ),
    ]
    closest = facts.closest_beyond_limit_bits
    beyond = f" The closest pair beyond the limit is {closest} bits apart." if closest is not None else ""
    how = f"Equal files by SHA-256. Near-duplicates by perceptual hash: {facts.perceptual_hash}.{beyond} {MISSED}"
    sections = [how, table(["", "equal files", "near-duplicates"], rows)]
    sections += [_listed(title, of) for title, of in (("Equal files", exact), ("Near-duplicates", near)) if of.listed]
    return "\n\n".join(sections)


def _listed(title: str, duplicates: Duplicates) -> str:
    rows = [
        [str(pair.distance_bits), *pair.files, " / ".join(pair.parts), " / ".join(dict.fromkeys(pair.labels))]
        for pair in duplicates.listed
    ]
    left_off = duplicates.pairs - len(duplicates.listed)
    more = f" The closest; {left_off:,} more are not listed." if left_off else ""
    return f"{title}, pair by pair.{more}\n\n{table(['bits', 'one', 'other', 'parts', 'class'], rows)}"


def _properties(facts: DataFacts) -> str:
    intro = (
        "A rule that knows one property and nothing of the disease, made from these images and measured on them. Where "
        "it is right much more often than always answering the larger class, a model may have learnt the property."
    )
    return "\n\n".join([intro, *(_property(name, facts) for name in facts.properties)])


def _property(name: str, facts: DataFacts) -> str:
    of = facts.properties[name]
    title = f"### {_PROPERTY_NAMES[name]}"
    if not of.known:
        return f"{title}\n\nNot known: metadata.csv gives no `{name}`."
    known = "" if of.known == _total(facts) else f" Known for {of.known:,} of {_images(facts)} images."
    medians = [f"{label} {age:g}" for label, age in facts.median_age_years.items() if age is not None]
    median = f" Median: {', '.join(medians)}." if name == "age" else ""
    rows = [
        [value, *_row(counts), f"{counts[LABELS[POSITIVE]] / sum(counts.values()):.0%}"]
        for value, counts in sorted(of.values.items(), key=lambda item: item[0] == NOT_KNOWN)
    ]
    header = [name, *LABELS, "images", f"{LABELS[POSITIVE]} share"]
    return f"{title}\n\n{_rule(of).capitalize()}.{known}{median}\n\n{table(header, rows)}"


def _older_set(facts: DataFacts) -> str:
    counts = facts.older_set_names
    if not any(counts.values()):
        return "None is named as the images of the paediatric pneumonia set of Kermany et al. (2018) are."
    found = " and ".join(
        f"{counts[label]:,} of {facts.total.images[label]:,} images of the class {label}" for label in reversed(LABELS)
    )
    sentence = (
        f"{found} are named as those of Kermany et al. (Cell, 2018; doi:10.1016/j.cell.2018.02.010) are: chest "
        "X-rays of children, published before COVID-19 was known."
    )
    if counts[LABELS[POSITIVE]]:
        sentence += (
            f" **By their names, {counts[LABELS[POSITIVE]]:,} images of the class COVID-19 cannot show COVID-19; "
            "a model trained on them learns something else.**"
        )
    return sentence


def _skipped(facts: DataFacts) -> str:
    skipped = facts.skipped
    total = sum(skipped.images.values())
    if not total:
        return "No image: all can be read."
    classes = ", ".join(f"{count:,} {label}" for label, count in skipped.images.items())
    reasons = ", ".join(f"{code.replace('_', ' ')} {count:,}" for code, count in skipped.reasons.items())
    files = "\n".join(f"- `{name}`" for name in skipped.files)
    what = "1 image cannot be read and was" if total == 1 else f"{total:,} images cannot be read and were"
    return f"{what} left out ({classes}; {reasons}).\n\n{files}"


def _rule(of: Property) -> str:
    return f"right for {of.rule_accuracy:.1%} (the larger class alone: {of.larger_class_share:.1%})"


def _gain(of: Property) -> float:
    return (of.rule_accuracy or 0) - (of.larger_class_share or 0)


def _pairs(duplicates: Duplicates) -> str:
    if not duplicates.pairs:
        return "none found"
    across = sum(count for parts, count in duplicates.by_parts.items() if "/" in parts)
    found = "1 pair" if duplicates.pairs == 1 else f"{duplicates.pairs:,} pairs"
    return f"{found}, of which across parts {across:,}, across classes {duplicates.between_classes:,}"


def _where(parts: str) -> str:
    return f"across {parts}" if "/" in parts else f"within {parts}"


def _row(counts: dict[str, int]) -> list[str]:
    return [*(f"{counts[label]:,}" for label in LABELS), f"{sum(counts.values()):,}"]


def _total(facts: DataFacts) -> int:
    return sum(facts.total.images.values())


def _images(facts: DataFacts) -> str:
    return f"{_total(facts):,}"
