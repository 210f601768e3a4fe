"""The built-in datasets, as `sftkey-data list` shows them."""

import json
from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo

from sftkey_data.registry import Dataset, builtin_names, load_dataset


def datasets() -> Iterator[tuple[str, Dataset]]:
    """Every built-in dataset by its name."""
    return ((name, load_dataset(name)) for name in builtin_names())


def dataset_json(name: str, dataset: Dataset) -> str:
    """One JSON object: name, description, default input, columns, rejects by design and options."""
    facts = {
        "name": name,
        "description": dataset.description,
        "input": dataset.default_input,
        "columns": dataset.columns,
        "expected_rejects": sorted(dataset.expected_rejects),
        "options": {option: field.description for option, field in _fields(dataset).items()},
    }
    return json.dumps(facts)


def dataset_lines(name: str, dataset: Dataset) -> str:
    """The same to read; what follows the first line is indented."""
    lines = [f"{name}\t{dataset.description}"]
    if dataset.generate is None:
        named = f"{dataset.default_input or '(name one with --input)'}"
        lines.append(f"\tinput {named}; columns {', '.join(dataset.columns) or '(named by the options)'}")
    if dataset.expected_rejects:
        lines.append(f"\trejects by design: {', '.join(sorted(dataset.expected_rejects))}")
    lines += [f"\t--set {option}={field.default}\t{field.description}" for option, field in _fields(dataset).items()]
    return "\n".join(lines)


def _fields(dataset: Dataset) -> Mapping[str, FieldInfo]:
    return dataset.options.model_fields if dataset.options else {}
