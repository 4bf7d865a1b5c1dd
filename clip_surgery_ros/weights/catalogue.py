"""Pretrained networks for download: what they are, where their files are, their checksums.

Only data; ``weights/fetching.py`` downloads files when the user asks for it.

A new network needs a row in :data:`PRETRAINED`. That is all for a CLIP whose architecture
``networks/clip/surgery.py`` supports (:func:`surgery_encoder_type`). A new SAM also needs a row in

- ``SEGMENTERS`` of ``networks/sam/segmenters.py``: the code that builds and runs it,
- ``SAM_MARKERS`` of ``weights/layouts.py``: how its files are recognised,

and both kinds a row in the tables of ``docs/models.md``. Tests compare these lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from clip_surgery_ros.core.near_names import nearest, suggest

CLIP, SAM = "clip", "sam"


@dataclass(frozen=True)
class PretrainedNetwork:
    """One network whose weights can be downloaded.

    :param name: the value of ``clip_model`` or ``sam_model``, and of ``clip_surgery weights``.
    :param kind: ``clip`` or ``sam``.
    :param architecture: for a CLIP the open_clip model with the right activation, for a SAM its
        name.
    :param address: URL of the file.
    :param sha256: hexadecimal checksum of the file, or the first digits where its publisher gives
        no more; empty where the publisher gives none.
    :param input_size: side in pixels of the images that it was trained on.
    :param parameters: millions of parameters; of both towers of a CLIP, without the video part of
        a SAM 2.
    :param licence: of the weights, by the publisher's name for it.
    :param good_for: why to choose it, in a few words.
    :param hub: Hugging Face repository from which open_clip takes these weights, if any.

    >>> find_pretrained("vit_b").file_name
    'sam_vit_b_01ec64.pth'
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
        """Name of the downloaded file; different for all networks, unlike in their addresses."""
        if self.kind == SAM:
            return urlsplit(self.address).path.rsplit("/", 1)[1]
        return f"{self.name.replace('/', '_')}.{self.address.rsplit('.', 1)[1]}"

    @property
    def memory_mb(self) -> float:
        """Megabytes of the weights in float32."""
        return 4 * self.parameters

    @property
    def max_bytes(self) -> int:
        """Upper bound of the file's length.

        SAM 2's files also hold the video part, a quarter of the size counted here, and archives
        hold more than the weights.
        """
        return int(1.5e6 * self.memory_mb)


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
        "the first to try: the CLIP of CLIP Surgery's paper",
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
        "MobileSAM, for small boards: 0.13 of vit_b's time",
    ),
    _sam("vit_b", "01ec64", 93.7, "the first to try"),
    _sam("vit_l", "0b3195", 312.3, "better borders"),
    _sam("vit_h", "4b8939", 641.1, "the best borders, for a workstation"),
    _sam2("tiny", 31.4, "SAM 2, 0.42 of vit_b's time"),
    _sam2("small", 38.5, "SAM 2, 0.49 of vit_b's time"),
    _sam2("base_plus", 73.3, "SAM 2, 0.87 of vit_b's time"),
    _sam2("large", 216.9, "the largest SAM 2, for a workstation"),
)
"""All networks that ``clip_surgery weights`` knows.

OpenAI's addresses contain the checksum, file names of the others its first digits. The times are
those of ``docs/models.md``."""


def find_pretrained(name: str) -> PretrainedNetwork | None:
    """Return the network of this name, or None.

    >>> find_pretrained("openai/ViT-B-16").architecture
    'ViT-B-16-quickgelu'
    """
    return next((network for network in PRETRAINED if network.name == name), None)


def suggestion(name: str, kind: str = "") -> str:
    """Return ``; did you mean 'openai/ViT-B-16'?`` for a similar name, or nothing.

    :param kind: ``clip`` or ``sam`` for networks of this kind only.
    """
    networks = [network for network in PRETRAINED if kind in ("", network.kind)]
    names = {network.file_name.rpartition(".")[0]: network.name for network in networks}
    names |= {network.name: network.name for network in networks}
    return suggest(names[similar] for similar in nearest(name, names))
