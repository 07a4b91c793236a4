import json

from training.measurement_text import measurement_text

MEASURED = {
    "command": "python -m training probe",
    "images": 1684,
    "passed": True,
    "auc": {"value": 0.9, "low": 0.8, "high": 0.95},
    "probes": {
        "lungs_covered": {"roc_auc": {"value": 0.81, "low": 0.7, "high": 0.9}, "images": 337},
        "border_only": {"roc_auc": {"value": 0.61, "low": 0.5, "high": 0.7}, "accuracy": 0.5},
    },
    "changes": [{"what": "crop", "loss": 0.00012}, {"what": "a|b"}],
    "by_kind": {"outer": {"inner": {"rate": 0.99}}, "limit": 3.5},
    "names": ["cat.png", "dog.png"],
}


def test_everything_measured_is_shown_and_nothing_else() -> None:
    assert (
        measurement_text(json.loads(json.dumps(MEASURED)))
        == """\
- command: python -m training probe
- images: 1,684
- passed: yes
- auc: 0.900 (0.800 to 0.950)

### Probes

|  | roc auc | images | accuracy |
| --- | --- | --- | --- |
| lungs covered | 0.810 (0.700 to 0.900) | 337 |  |
| border only | 0.610 (0.500 to 0.700) |  | 0.500 |

### Changes

| what | loss |
| --- | --- |
| crop | 0.00012 |
| a\\|b |  |

### By kind

- limit: 3.500

#### Outer

|  | rate |
| --- | --- |
| inner | 0.990 |

### Names

- cat.png
- dog.png"""
    )


def test_markup_in_a_measurement_is_text() -> None:
    assert measurement_text({"who": "**me** <b>"}) == r"- who: \*\*me\*\* \<b\>"
