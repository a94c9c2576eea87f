"""DICOM files: real scans of pydicom's own, their units, and which way round their values are drawn."""

from __future__ import annotations

import builtins
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotransfer.data.sources import find_examples
from autotransfer.errors import DataError
from autotransfer_plugins.modalities.image.decode import decode
from autotransfer_plugins.modalities.image.dicom import read_dicom
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.reading import holds_image

pydicom = pytest.importorskip("pydicom")


def sample(name: str) -> Path:
    """Return a file that comes with pydicom."""
    from pydicom.data import get_testdata_file

    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"pydicom comes without {name}")
    return Path(str(found))


def changed(folder: Path, name: str = "CT_small.dcm", **tags: Any) -> Path:
    """Write a sample with some of its tags changed."""
    file = pydicom.dcmread(sample(name))
    for tag, value in tags.items():
        setattr(file, tag, value)
    file.save_as(folder / "changed.dcm")
    return folder / "changed.dcm"


def read(*files: Path) -> Images:
    return decode(find_examples(list(files)), {"center": 64}, exact=True)


def test_computed_tomography_is_in_hounsfield_units() -> None:
    found = read_dicom(sample("CT_small.dcm").read_bytes())
    file = pydicom.dcmread(sample("CT_small.dcm"))
    assert (float(file.RescaleSlope), float(file.RescaleIntercept)) == (1, -1024)
    assert found.values.dtype == np.int32
    assert (found.values == file.pixel_array.astype(int) - 1024).all()
    assert not found.several


def test_fractions_of_a_slope_are_kept(tmp_path: Path) -> None:
    path = changed(tmp_path, RescaleSlope="0.5", RescaleIntercept="0.25")
    expected = pydicom.dcmread(path).pixel_array * 0.5 + 0.25
    np.testing.assert_allclose(read_dicom(path.read_bytes()).values, expected)


def test_negative_film_is_turned_round(tmp_path: Path) -> None:
    plain = read_dicom(changed(tmp_path, RescaleIntercept="0").read_bytes()).values
    path = changed(tmp_path, RescaleIntercept="0", PhotometricInterpretation="MONOCHROME1")
    turned = read_dicom(path.read_bytes()).values
    signed = bool(pydicom.dcmread(path).PixelRepresentation)
    assert (turned == (-1 if signed else 2**16 - 1) - plain.astype(int)).all()
    assert np.corrcoef(turned.ravel(), plain.ravel())[0, 1] == pytest.approx(-1)


def test_scans_decode_like_the_arrays_that_they_hold() -> None:
    files = [sample("CT_small.dcm"), sample("MR_small.dcm")]
    arrays = [read_dicom(file.read_bytes()).values for file in files]
    scans, expected = read(*files), decode(find_examples(arrays), {"center": 64}, exact=True)
    assert (scans.pixels["center"] == expected.pixels["center"]).all()
    assert scans.decoding.value_range[0] < 0, "air is black"
    assert scans.decoding.channels == 1


def test_colours_and_palettes_come_as_red_green_and_blue() -> None:
    for name in ("examples_rgb_color.dcm", "SC_rgb_small_odd.dcm", "examples_palette.dcm", "SC_rgb_rle.dcm"):
        values = read_dicom(sample(name).read_bytes()).values
        assert values.ndim == 3
        assert values.dtype == np.uint8
        assert values.shape[2] == 3


def test_first_of_several_frames_is_used_and_that_is_said() -> None:
    images = read(sample("SC_rgb_rle_2frame.dcm"), sample("SC_rgb_rle.dcm"))
    assert [warning.code for warning in images.warnings if warning.code == "multiple_frames"] == ["multiple_frames"]


def test_file_without_an_image_is_left_out_with_the_reason() -> None:
    images = read(sample("rtplan.dcm"), sample("CT_small.dcm"))
    assert "without an image" in images.skipped[0].reason
    assert len(images) == 1


def test_damaged_scan_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "cut.dcm").write_bytes(sample("CT_small.dcm").read_bytes()[:8000])
    (tmp_path / "junk.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        images = read(tmp_path / "cut.dcm", tmp_path / "junk.dcm", sample("CT_small.dcm"))
    assert len(images.skipped) == 2


def test_scan_of_too_many_pixels_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than Pillow allows"):
        read_dicom(changed(tmp_path, Rows=60_000, Columns=60_000).read_bytes())


def test_scan_without_a_suffix_is_found_by_its_content(tmp_path: Path) -> None:
    shutil.copy(sample("CT_small.dcm"), tmp_path / "IM0001")
    assert holds_image(tmp_path / "IM0001")


def test_without_pydicom_the_reason_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    data, importing = sample("CT_small.dcm").read_bytes(), builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] == "pydicom":
            raise ImportError(name)
        return importing(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(DataError, match=r'pip install "autotransfer\[dicom\]"'):
        read_dicom(data)
