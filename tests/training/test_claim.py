from pathlib import Path

import pytest
from pydantic import BaseModel

from app.errors import TrainingError
from training.claim import claim


class Inner(BaseModel):
    width: int = 3


class Use(BaseModel):
    name: str
    parts: tuple[Inner, ...] = (Inner(),)
    later: str | None = None


def test_the_same_use_may_go_on(tmp_path: Path) -> None:
    path = tmp_path / "new" / "use.json"
    claim(path, Use(name="a"))
    claim(path, Use(name="a"))
    assert Use.model_validate_json(path.read_text()) == Use(name="a")


def test_a_field_that_an_older_file_lacks_has_its_default(tmp_path: Path) -> None:
    (tmp_path / "use.json").write_text('{"name": "a"}')
    claim(tmp_path / "use.json", Use(name="a"))
    with pytest.raises(TrainingError, match="later is None there and b here"):
        claim(tmp_path / "use.json", Use(name="a", later="b"))


def test_another_use_is_refused_and_each_difference_named(tmp_path: Path) -> None:
    claim(tmp_path / "use.json", Use(name="a"))
    wider = Use(name="b", parts=(Inner(width=4), Inner()))
    with pytest.raises(TrainingError) as caught:
        claim(tmp_path / "use.json", wider)
    assert str(caught.value) == (
        f"{tmp_path} holds another run: in its use.json name is a there and b here; "
        "parts.0.width is 3 there and 4 here; parts.1 is here and not there. "
        "Give another --out, or the recipe, data and options of that run to resume it."
    )


@pytest.mark.parametrize("text", ["", "{", '{"name": "a", "parts": 3}', "\x00\x01"])
def test_a_file_that_is_none_of_ours_is_refused_in_words(text: str, tmp_path: Path) -> None:
    (tmp_path / "use.json").write_text(text)
    with pytest.raises(TrainingError, match="cannot be read as what this command writes"):
        claim(tmp_path / "use.json", Use(name="a"))
