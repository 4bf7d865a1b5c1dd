"""Pretrained networks that the node can run: what they are, where they come from, their checksums.

Only data; ``weights.fetching`` brings them in place, when the user says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from clip_surgery_ros.core.near_names import nearest, suggest

CLIP, SAM = "clip", "sam"


@dataclass(frozen=True)
class PretrainedNetwork:
    """One network with its weights.

    :param name: what ``clip_model`` or ``sam_model`` calls it, and ``clip_surgery weights fetch``.
    :param kind: ``clip`` or ``sam``.
    :param architecture: an open_clip model name with the right activation, or for a SAM what
        ``sam_model`` calls it.
    :param address: of the file.
    :param sha256: hexadecimal, or the first digits where the publisher tells no more; empty where
        nothing is told.
    :param input_size: side of the images that it was trained on, in pixels.
    :param parameters: how many, in millions: both towers of a CLIP, what sees images of a SAM 2.
    :param licence: of the weights, as the publisher names it.
    :param good_for: in a few words.
    :param hub: repository of Hugging Face from which open_clip takes these weights, if any.
    """

    name: str
    kind: str
    architecture: str
    address: str
    sha256: str
    input_size: int
    parameters: float
    licence: str
    good_for: str
    hub: str = ""

    @property
    def file_name(self) -> str:
        """In the cache; addresses of different publishers share file names."""
        published = urlsplit(self.address).path.rsplit("/", 1)[1]
        return published if self.kind == SAM else f"{self.name.replace('/', '_')}.{self._suffix}"

    @property
    def memory_mb(self) -> float:
        """Of the weights in float32."""
        return 4 * self.parameters

    @property
    def most_bytes(self) -> int:
        """No file of these weights is longer: SAM 2's hold what is for videos too, a quarter
        more than counts here, and archives have a little beside the weights.
        """
        return int(1.5e6 * self.memory_mb)

    @property
    def _suffix(self) -> str:
        return self.address.rsplit(".", 1)[1]


def _openai(
    name: str, digest: str, size: int, parameters: float, good_for: str, hub: str
) -> PretrainedNetwork:
    address = f"https://openaipublic.azureedge.net/clip/models/{digest}/{name}.pt"
    return PretrainedNetwork(
        f"openai/{name}",
        CLIP,
        f"{name.removesuffix('px')}-quickgelu",
        address,
        digest,
        size,
        parameters,
        "MIT",
        good_for,
        f"timm/{hub}.openai",
    )


def _hugging_face(
    name: str, repository: str, architecture: str, good_for: str
) -> PretrainedNetwork:
    address = f"https://huggingface.co/{repository}/resolve/main/open_clip_model.safetensors"
    parameters = 149.6 if "16" in architecture else 151.3
    return PretrainedNetwork(
        name, CLIP, architecture, address, "", 224, parameters, "MIT", good_for, repository
    )


def _metaclip(
    name: str, file: str, architecture: str, parameters: float, hub: str
) -> PretrainedNetwork:
    return PretrainedNetwork(
        name,
        CLIP,
        architecture,
        f"https://dl.fbaipublicfiles.com/MMPT/metaclip/{file}",
        "",
        224,
        parameters,
        "CC-BY-NC-4.0",
        "research only: its licence excludes commercial use",
        hub,
    )


def _sam(name: str, digits: str, parameters: float, good_for: str) -> PretrainedNetwork:
    address = f"https://dl.fbaipublicfiles.com/segment_anything/sam_{name}_{digits}.pth"
    return PretrainedNetwork(
        name, SAM, name, address, digits, 1024, parameters, "Apache-2.0", good_for
    )


def _sam2(size: str, parameters: float, good_for: str) -> PretrainedNetwork:
    name = f"sam2.1_hiera_{size}"
    address = f"https://dl.fbaipublicfiles.com/segment_anything_2/092824/{name}.pt"
    return PretrainedNetwork(
        name, SAM, name, address, "", 1024, parameters, "Apache-2.0", good_for
    )


_RELEASE = "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights"

PRETRAINED: tuple[PretrainedNetwork, ...] = (
    _openai(
        "ViT-B-16",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        224,
        149.6,
        "the first to try: the published figures of CLIP Surgery are of it",
        "vit_base_patch16_clip_224",
    ),
    _openai(
        "ViT-B-32",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        224,
        151.3,
        "a quarter of ViT-B-16's tokens: faster, coarser maps",
        "vit_base_patch32_clip_224",
    ),
    _openai(
        "ViT-L-14",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        224,
        427.6,
        "better zero-shot scores, worse maps",
        "vit_large_patch14_clip_224",
    ),
    _openai(
        "ViT-L-14-336px",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        336,
        427.9,
        "as ViT-L-14, at a higher resolution",
        "vit_large_patch14_clip_336",
    ),
    _openai(
        "RN50",
        "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
        224,
        102.0,
        "convolutions: light, coarse maps",
        "resnet50_clip",
    ),
    _openai(
        "RN101",
        "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
        224,
        119.7,
        "deeper than RN50",
        "resnet101_clip",
    ),
    _openai(
        "RN50x4",
        "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd",
        288,
        178.3,
        "wider than RN50",
        "resnet50x4_clip",
    ),
    _openai(
        "RN50x16",
        "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa",
        384,
        291.0,
        "slow",
        "resnet50x16_clip",
    ),
    _openai(
        "RN50x64",
        "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c",
        448,
        623.3,
        "slower still; for comparison",
        "resnet50x64_clip",
    ),
    PretrainedNetwork(
        "laion400m/ViT-B-32",
        CLIP,
        "ViT-B-32-quickgelu",
        f"{_RELEASE}/vit_b_32-quickgelu-laion400m_e32-46683a32.pt",
        "46683a32",
        224,
        151.3,
        "MIT",
        "open data",
        "timm/vit_base_patch32_clip_224.laion400m_e32",
    ),
    PretrainedNetwork(
        "laion400m/ViT-B-16",
        CLIP,
        "ViT-B-16",
        f"{_RELEASE}/vit_b_16-laion400m_e32-55e67d44.pt",
        "55e67d44",
        224,
        149.6,
        "MIT",
        "open data",
        "timm/vit_base_patch16_clip_224.laion400m_e32",
    ),
    _hugging_face(
        "laion2b/ViT-B-32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "ViT-B-32", "open data"
    ),
    _hugging_face(
        "laion2b/ViT-B-16", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "ViT-B-16", "open data"
    ),
    _hugging_face(
        "datacomp/ViT-B-32",
        "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
        "ViT-B-32",
        "filtered data: the best zero-shot scores of its size",
    ),
    _hugging_face(
        "datacomp/ViT-B-16",
        "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
        "ViT-B-16",
        "filtered data: the best zero-shot scores of its size",
    ),
    _metaclip(
        "metaclip/ViT-B-32",
        "b32_400m.pt",
        "ViT-B-32-quickgelu",
        151.3,
        "timm/vit_base_patch32_clip_224.metaclip_400m",
    ),
    _metaclip(
        "metaclip/ViT-B-16",
        "b16_400m.pt",
        "ViT-B-16-quickgelu",
        149.6,
        "timm/vit_base_patch16_clip_224.metaclip_400m",
    ),
    PretrainedNetwork(
        "vit_t",
        SAM,
        "vit_t",
        "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        "",
        1024,
        10.1,
        "Apache-2.0",
        "MobileSAM, for weak boards: a tenth of vit_b's time",
    ),
    _sam("vit_b", "01ec64", 93.7, "the first to try"),
    _sam("vit_l", "0b3195", 312.3, "better borders"),
    _sam("vit_h", "4b8939", 641.1, "the best borders, for a workstation"),
    _sam2("tiny", 31.4, "SAM 2, in a third of vit_b's time"),
    _sam2("small", 38.5, "SAM 2, in two fifths of vit_b's time"),
    _sam2("base_plus", 73.3, "SAM 2, in two thirds of vit_b's time"),
    _sam2("large", 216.9, "SAM 2, its best, for a workstation"),
)
"""OpenAI's digests stand in their addresses, the others' first digits in their file names."""


def find_pretrained(name: str) -> PretrainedNetwork | None:
    """The network of this name, if there is one."""
    return next((one for one in PRETRAINED if one.name == name), None)


def suggestion(name: str, kind: str = "") -> str:
    """``; did you mean 'openai/ViT-B-16'?`` for a name that is nearly one, or nothing.

    :param kind: only networks of this kind; of either by default.
    """
    listed = [one for one in PRETRAINED if kind in ("", one.kind)]
    called = {one.file_name.rpartition(".")[0]: one.name for one in listed}
    called |= {one.name: one.name for one in listed}
    return suggest(called[near] for near in nearest(name, called))
