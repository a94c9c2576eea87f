"""Search for the best way to read handwritten digits, from a folder of images to predictions, in under a minute.

Nothing is downloaded: the images are the 8 x 8 digits that come with scikit-learn. Without ``--zoo`` the backbones are
stand-ins with random weights. They show how things work, and how far a head gets on features that nobody trained;
what pretrained weights are worth, they cannot show.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import autotransfer  # before torch: it settles how torch's threads wait

# timm's own miniatures, one convolutional and one a transformer, at 32 x 32 pixels.
STAND_INS = {"test_resnet": {}, "test_vit": {"img_size": 32}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, help="a folder of pretrained checkpoints to search instead")
    parser.add_argument("--time-budget", default="30s", help="for search and refit together (default: 30s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autotransfer-quickstart-") as folder:
        quickstart(Path(folder), arguments.zoo, arguments.time_budget)


def quickstart(folder: Path, zoo: Path | None, time_budget: str) -> None:
    write_digits(folder / "digits")
    if zoo is None:
        print("No --zoo: the backbones are stand-ins with random weights, not pretrained models.")
        zoo = write_stand_ins(folder / "zoo")
    result = autotransfer.fit(
        folder / "digits" / "train",
        test=folder / "digits" / "test",
        zoo=zoo,
        time_budget=time_budget,
        out=folder / "run",
        cache_dir=folder / "cache",
    )
    print(f"\n{result}\n\nThe best of {len(result.trials)} trials:")
    print("\n".join(str(result.leaderboard()).splitlines()[:11]))
    images = sorted((folder / "digits" / "test").rglob("*.png"))[::40]
    print("\nPredictions for images that it has not seen:")
    for image, prediction in zip(images, result.predict(images), strict=True):
        print(f"{image.parent.name}/{image.name}  ->  {prediction}")


def write_digits(folder: Path) -> None:
    """Write ``train/DIGIT/NNNN.png`` (600) and ``test/DIGIT/NNNN.png`` (300), 32 x 32 pixels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    for number, (pixels, digit) in enumerate(zip(data.images[:900], data.target[:900], strict=True)):
        place = folder / ("train" if number < 600 else "test") / str(digit)
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((pixels * (255 / 16)).astype("uint8"))
        image.resize((32, 32), Image.Resampling.BICUBIC).save(place / f"{number:04d}.png")


def write_stand_ins(zoo: Path) -> Path:
    """Write two checkpoints with random weights, in the format of every zoo."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    for name, model_args in STAND_INS.items():
        model = timm.create_model(name, num_classes=0, **model_args)
        (zoo / name).mkdir(parents=True)
        save_file(model.state_dict(), zoo / name / "model.safetensors")
        config = {"input_size": [3, 32, 32], "fixed_input_size": bool(model_args), "crop_pct": 1.0}
        about = {"architecture": name, "num_classes": 0, "model_args": model_args, "pretrained_cfg": config}
        (zoo / name / "config.json").write_text(json.dumps(about))
    return zoo


if __name__ == "__main__":
    main()
