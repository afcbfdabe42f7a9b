"""Karpathy's splits of COCO and Flickr30k: one JSON file with the sentences of each image under the image.

Karpathy and Fei-Fei, Deep Visual-Semantic Alignments, CVPR 2015: `dataset_coco.json`, with `split` (train, restval,
val, test) beside the sentences.
"""

from __future__ import annotations

from typing import Any


def is_karpathy(data: Any) -> bool:
    """Whether the data of a JSON file are such a split."""
    images = data.get("images") if isinstance(data, dict) else None
    if not isinstance(images, list) or "annotations" in data:
        return False
    return any(isinstance(image, dict) and "sentences" in image for image in images)


def as_coco(data: dict[str, Any]) -> dict[str, Any]:
    """The same as a COCO captions file holds it; what is no image or sentence is kept as it is, to be told."""
    images, annotations = [], []
    for image in data["images"]:
        if not isinstance(image, dict):
            images.append(image)
            continue
        number = image.get("cocoid", image.get("imgid"))
        name = "/".join(str(image[part]) for part in ("filepath", "filename") if image.get(part))
        images.append({"id": number, "file_name": name or None})
        sentences = image.get("sentences")
        for sentence in sentences if isinstance(sentences, list) else [sentences]:
            annotations.append(_annotation(sentence, number, image.get("split")))
    return {"images": images, "annotations": annotations}


def _annotation(sentence: Any, image: Any, split: Any) -> Any:
    if not isinstance(sentence, dict):
        return sentence
    named = {"id": sentence.get("sentid"), "image_id": image, "caption": sentence.get("raw")}
    return named | ({"split": split} if isinstance(split, str) else {})
