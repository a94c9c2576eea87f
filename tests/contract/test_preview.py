"""What a page shows of an example, as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autotransfer.contract.preview import Preview, Words
from autotransfer.errors import RunFormatError

SHOWN = Preview(media_type="text/plain", text="a <b>", words=(Words(text="a "), Words(text="<b>", weight=-0.5)))


def test_a_preview_survives_json() -> None:
    for preview in (SHOWN, Preview(media_type="image/png", data=bytes(range(256)), text="1 x 1 pixels")):
        assert Preview.from_json(json.loads(json.dumps(preview.to_json()))) == preview


def test_the_uri_of_a_file_holds_its_bytes() -> None:
    assert Preview(media_type="image/png", data=b"\x89PNG").uri == "data:image/png;base64,iVBORw=="
    assert SHOWN.uri == ""


@pytest.mark.parametrize(
    "change",
    [
        {"media_type": "text/html"},
        {"media_type": "image/svg+xml"},
        {"media_type": ["image/png"]},
        {"data": "no base64!"},
        {"data": None},
        {"text": 3},
        {"words": [["a", float("nan")]]},
        {"words": [["a"]]},
        {"words": [[None, 1.0]]},
    ],
)
def test_a_damaged_preview_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RunFormatError, match="What is shown of an example"):
        Preview.from_json({**SHOWN.to_json(), **change})


def test_no_preview_at_all_is_refused() -> None:
    for junk in (None, [], "x", {}):
        with pytest.raises(RunFormatError, match="cannot be read"):
            Preview.from_json(junk)
