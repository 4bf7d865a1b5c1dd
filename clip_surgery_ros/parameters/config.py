"""The parameters: each once, with default, limits, help and reason. Imports no torch.

A new parameter is a new field of :class:`Config`: the node declares it, the command line has it as
an option, and the documentation lists it. What else to change:

- the parameter table in the documentation (``markdown_table()`` prints it; a test compares them);
- ``Settings`` (``core/settings.py``) and ``settings_of`` (``networks/factory.py``), if frames are
  processed with it;
- ``check_together`` (``parameters/checks.py``), if it depends on other parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.recipes import RECIPES
from clip_surgery_ros.parameters.cameras import CameraTopic, parse_cameras, with_space
from clip_surgery_ros.parameters.checks import DEMO, check_together, check_value
from clip_surgery_ros.parameters.table import Parameter, as_markdown, parameter, table_of
from clip_surgery_ros.weights.catalogue import PRETRAINED, SAM

SEGMENTERS = (DEMO, *(network.name for network in PRETRAINED if network.kind == SAM))
"""Networks from points to masks."""


@dataclass(frozen=True)
class Config:
    # Longer than 250 lines: because it is a table.
    # Longer than 400 lines: because of the same table.
    """A checked snapshot of all parameters.

    Its fields are the table of parameters. Make one with :meth:`from_values`, which checks.

    >>> config = Config.from_values({"recipe": "reference", "min_area": 25})
    >>> config.min_area, config.device
    (25, 'auto')
    """

    clip_model: str = parameter(
        DEMO,
        "CLIP: 'demo', a name from `clip_surgery weights list` such as 'openai/ViT-B-16', or the "
        "network of a file: 'openai' (a state dict in OpenAI's layout) or an open_clip model name",
        "works without a download",
    )
    clip_checkpoint: str = parameter(
        "",
        "file with CLIP's weights, or a Hugging Face folder that has one; empty for the demo, or "
        "for what `clip_surgery weights fetch` downloaded",
        "nothing is downloaded",
    )
    clip_sha256: str = parameter(
        "",
        "SHA-256 that clip_checkpoint must have, or the first 8 or more of its hexadecimal digits",
        "not every publisher gives one; empty skips the check",
    )
    clip_input_size: int = parameter(
        0,
        "side in pixels of the square that images are resized to for CLIP, a multiple of its "
        "patch; 0 takes the size it was trained at, or for the demo the size that suits it best",
        "the trained size is right for zero-shot probabilities; 512 gives finer maps",
        minimum=0,
        maximum=2048,
    )
    attention: str = parameter(
        "v-v",
        "attention of CLIP Surgery's second path: 'v-v' (as in the paper), 'k-k', 'gem' or "
        "'naclip'",
        "the paper's method; `clip_surgery compare` shows which suits a network",
        choices=("v-v", "k-k", "gem", "naclip"),
    )
    sam_model: str = parameter(
        DEMO,
        "SAM: 'demo', 'vit_b', 'vit_l' or 'vit_h'; MobileSAM: 'vit_t'; SAM 2: "
        "'sam2.1_hiera_tiny', '_small', '_base_plus' or '_large'",
        "works without a download",
        choices=SEGMENTERS,
    )
    sam_checkpoint: str = parameter(
        "",
        "file with SAM's weights; empty for the demo, or for what `clip_surgery weights fetch` "
        "downloaded",
        "nothing is downloaded",
    )
    sam_sha256: str = parameter(
        "",
        "SHA-256 that sam_checkpoint must have, or the first 8 or more of its hexadecimal digits",
        "not every publisher gives one; empty skips the check",
    )
    device: str = parameter(
        "auto",
        "'auto' (CUDA if available), 'cpu' or 'cuda:N'",
        "a GPU is used wherever there is one",
    )
    allow_cpu_fallback: bool = parameter(
        False,
        "if the CUDA device is not available, use the CPU and warn in diagnostics",
        "a node that refuses to start says why; one that is ten times too slow does not",
    )
    precision: str = parameter(
        "float32",
        "number format of the networks: float32, bfloat16, float16, or 'auto': half precision "
        "where the hardware is made for it (GPUs; CPUs where a layer takes at most two thirds of "
        "the time), else float32",
        "exact, and the same on every machine, as thresholds need; 'auto' suits real networks",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    allow_tf32: bool = parameter(
        False,
        "on GPUs from Ampere on, let float32 round factors to 10 bits of mantissa (TF32), which "
        "is several times as fast",
        "float32 is asked for to be exact, and TF32 has errors of about 0.001; bfloat16 is faster "
        "still",
    )
    cuda_graphs: bool = parameter(
        True,
        "on GPUs, launch all kernels of a network with one call (CUDA graphs), from the second "
        "image of a size on; they keep the memory that a frame takes",
        "launching kernels one by one takes longer than a large GPU computes; a graph whose "
        "results differ is not used",
    )
    cpu_threads: int = parameter(
        0,
        "CPU threads for the networks; 0 takes one per core or the value of OMP_NUM_THREADS, and "
        "for the demo's small networks at most 4, or 1 where other programs make that faster",
        "all cores are used; a smaller number leaves cores to the robot's other work",
        minimum=0,
        maximum=1024,
    )
    templates: tuple[str, ...] = parameter(
        ("ensemble",),
        "prompts around a label: 'ensemble' (the paper's 85), 'single' ('a photo of a {}.') or "
        "your own templates with {} for the label; a text's feature is their mean",
        "the paper's prompts; 'single' encodes new labels 80 times faster",
    )
    text_cache: bool = parameter(
        True,
        "keep text features on disk, below CLIP_SURGERY_ROS_HOME; the demo's are in the package",
        "after a restart, known labels need no encoding; false where labels must not be stored",
    )
    image_topics: tuple[str, ...] = parameter(
        ("image_raw",),
        "a camera's topic, or several; name:=topic gives a camera a name. Several cameras use "
        "the networks in turn, and the results of each are published below its name",
        "the usual name of camera drivers and image_transport",
    )
    image_transport: str = parameter(
        "raw",
        "'raw' for the topics themselves, 'compressed' for topic/compressed (JPEG, PNG)",
        "every camera driver publishes raw images",
        choices=("raw", "compressed"),
    )
    autostart: bool = parameter(
        True,
        "configure and activate without a lifecycle manager",
        "a plain `ros2 run` should work",
        read_only=True,
    )
    default_query: str = parameter(
        "",
        "query in force until another arrives; labels separated by , or ;",
        "without a query, the networks do not run",
        live=True,
    )
    threshold: float = parameter(
        math.nan,
        "raw similarity below which a token is ignored, -1 to 1; NaN for no threshold",
        "it depends on the network and the data: `clip_surgery calibrate` proposes one",
        live=True,
    )
    label_thresholds: str = parameter(
        "",
        "thresholds of single labels instead, as in 'red mug=0.21; banana=0.19'",
        "labels differ less than networks do; `clip_surgery calibrate --per-label` proposes them",
        live=True,
    )
    presence_threshold: float = parameter(
        0.5,
        "presence from which a label counts as being in the image, 0 to 1; 0 switches this off",
        "the label is then as likely in the image as not",
        live=True,
        minimum=0.0,
        maximum=1.0,
    )
    distractors: bool = parameter(
        True,
        "compare built-in names along with the labels, so that one or two labels have something "
        "to differ from",
        "label-set similarity is not defined for a single label",
        live=True,
    )
    recipe: str = parameter(
        "instances",
        "from maps to masks: 'instances' (one point per peak, masks ranked by the map, one "
        "segment per object) or 'reference' (the paper's recipe, one mask per label)",
        "on held-out scenes its masks are better, equally good for single objects, and it "
        "separates objects",
        live=True,
        choices=tuple(RECIPES),
    )
    clip_windows: str = parameter(
        "fitted",
        "recipe instances: whether CLIP encodes four overlapping windows of the image too, which "
        "takes five times its own work: 'fitted' (if presence of this CLIP was fitted with "
        "windows, as `clip_surgery fit` does), 'always' or 'never'",
        "with presence that was fitted with them, windows find small objects that the whole image "
        "does not show; without, 'always' finds more small objects",
        live=True,
        choices=("fitted", "always", "never"),
    )
    point_threshold: float = parameter(
        0.8,
        "recipe reference: share of a map's range from which a cell gives a positive point",
        "the paper's value",
        live=True,
        minimum=0.05,
        maximum=1.0,
    )
    min_area: int = parameter(
        16,
        "smallest segment in pixels of the source image; smaller ones are dropped",
        "4 x 4 pixels: smaller objects cannot be grasped or avoided",
        live=True,
        minimum=1,
    )
    still_threshold: float = parameter(
        0.0,
        "a frame counts as unchanged, and the networks do not run again, when the mean of each "
        "16 x 16 block changed by at most this value, 0 to 255; with 0, when all pixels are equal",
        "exact; a camera that stands still may take 4, above its noise",
        live=True,
        minimum=0,
        maximum=255,
    )
    max_rate_hz: float = parameter(
        0.0,
        "largest number of frames processed per second; 0 for as many as the networks manage",
        "no limit is needed: frames that arrive too fast are dropped, the newest is processed",
        live=True,
        minimum=0.0,
        maximum=1000.0,
    )
    max_frame_age_s: float = parameter(
        0.0,
        "frames whose stamp is older than this many seconds are dropped; 0 accepts any age",
        "recorded bags have old stamps",
        live=True,
        minimum=0.0,
    )
    stage_waits: bool = parameter(
        False,
        "on a GPU, wait for it at the end of each stage, so that a stage's time has exactly its "
        "own work; otherwise CUDA's events measure the times",
        "waiting makes every frame slower; for measurements",
        live=True,
    )
    image_timeout_s: float = parameter(
        3.0,
        "diagnostics warns of a camera that sends nothing for this many seconds; 0 never warns",
        "longer than the pauses of a slow camera, short enough to be noticed",
        live=True,
        minimum=0.0,
    )
    depth_topics: tuple[str, ...] = parameter(
        ("",),
        "for objects in space: the depth topic of each camera, in the order of image_topics; an "
        "empty name for a camera without depth",
        "depth is read, and transforms are listened to, only where objects in space are wanted",
    )
    depth_transport: str = parameter(
        "raw",
        "'raw' for the depth topics themselves, 'compressedDepth' for topic/compressedDepth (PNG, "
        "RVL)",
        "every driver of a depth camera publishes raw depth",
        choices=("raw", "compressedDepth"),
    )
    camera_info_topics: tuple[str, ...] = parameter(
        ("",),
        "topic of the model of each image, in the order of image_topics; empty for camera_info "
        "beside the image",
        "the place that image_transport gives it",
    )
    depth_info_topics: tuple[str, ...] = parameter(
        ("",),
        "topic of the model of each depth image; empty for camera_info beside the depth image. "
        "Without it, depth of the image's frame and size is taken as registered to the image",
        "the place that image_transport gives it",
    )
    depth_max_skew: float = parameter(
        0.03,
        "largest time between an image and its depth, seconds",
        "at 0.5 m/s 0.03 s are 15 mm, the size of the other errors; cameras of 30 Hz stay below",
        live=True,
        minimum=0.0,
        maximum=10.0,
    )
    depth_unit: float = parameter(
        0.0,
        "metres of one unit of depth; 0 for those of the encoding: 16UC1 0.001, 32FC1 1",
        "REP 118; some cameras differ, such as the L515 with 0.00025",
        live=True,
        minimum=0.0,
        maximum=1000.0,
    )
    min_depth: float = parameter(
        0.1,
        "nearer depth is not used, metres",
        "nearer than depth cameras measure",
        live=True,
        minimum=0.0,
    )
    max_depth: float = parameter(
        10.0,
        "farther depth is not used, metres",
        "farther than depth cameras measure; an arm may take 2",
        live=True,
        minimum=0.0,
    )
    target_frame: str = parameter(
        "",
        "frame of the boxes in space, such as base_link or map, with z up; empty for the camera's",
        "needs no transforms",
        live=True,
    )
    tf_wait: float = parameter(
        0.1,
        "how long an image's depth and transforms are waited for after it arrived, seconds; 2D "
        "results do not wait",
        "transforms of 10 Hz and more come within it",
        live=True,
        minimum=0.0,
        maximum=2.0,
    )
    box_mode: str = parameter(
        "upright",
        "boxes in space: 'upright' (a vertical axis), 'oriented' (along the object) or "
        "'axis_aligned' (along the frame's axes)",
        "things stand on tables and floors, and grippers and maps expect it",
        live=True,
        choices=("upright", "oriented", "axis_aligned"),
    )
    support: str = parameter(
        "plane",
        "'plane' looks for the plane that an object stands on and cuts it off, 'none' does not",
        "without the cut, boxes of things on a table were 29 mm off instead of 4",
        live=True,
        choices=("plane", "none"),
    )
    publish_tf: bool = parameter(
        False,
        "publish the place of every object as a transform too, as the child LABEL_ID of "
        "target_frame",
        "objects fill the tree of transforms of all nodes",
    )
    tracking: bool = parameter(
        False,
        "give every object an id that lasts, such as 'red mug/3', and remember what is not seen "
        "now (~/tracks); with depth and target_frame by places in space, else in the picture",
        "ids of results stay as they were, and 2D results never wait for depth",
    )
    track_memory: float = parameter(
        60.0,
        "seconds for which an object is remembered that is looked for and not seen, or that "
        "nothing looks for, as it is not asked for or nobody reads; seen again within them it has "
        "its id back",
        "a robot turns away and back within a minute, and what stood there rarely moved",
        live=True,
        minimum=0.1,
    )
    track_missed: float = parameter(
        3.0,
        "seconds for which an object must be missed, where depth does not show that its place is "
        "empty, until it is 'gone'",
        "networks lose an object for a second or two",
        live=True,
        minimum=0.0,
    )
    track_empty: float = parameter(
        1.0,
        "seconds for which depth must show an object's place without it until it is 'gone'; two "
        "images at least",
        "a hand that reaches across is away again",
        live=True,
        minimum=0.0,
    )
    track_gate: float = parameter(
        0.10,
        "how far from its last place in space an object is looked for, metres",
        "more than the errors of depth and transforms, less than two things on a table are apart",
        live=True,
        minimum=0.001,
        maximum=100.0,
    )
    track_speed: float = parameter(
        0.25,
        "by how much track_gate grows for each second in which the object was not seen, metres; "
        "for 2 s at most",
        "as things are carried by hand",
        live=True,
        minimum=0.0,
        maximum=100.0,
    )
    track_sure_presence: float = parameter(
        0.9,
        "presence from which one sighting is enough for an id; of less, two are needed",
        "a false detection rarely comes twice at one place; with slow networks 0 gives ids at "
        "once",
        live=True,
        minimum=0.0,
        maximum=1.0,
    )
    track_smooth: float = parameter(
        2.0,
        "time constant of an object's running score and presence, seconds",
        "as long as an observer waits before believing a change",
        live=True,
        minimum=0.01,
    )

    @classmethod
    def from_values(cls, values: Mapping[str, Any] | None = None) -> Config:
        """Return the defaults, overridden by ``values``.

        :raises ConfigError: for an unknown name, a wrong type, a value out of range, or values
            that cannot work together.
        """
        values = values or {}
        unknown = sorted(set(values) - {entry.name for entry in PARAMETERS})
        if unknown:
            raise ConfigError(f"there is no parameter '{unknown[0]}'; see docs/parameters.md")
        checked = {
            row.name: check_value(row, values.get(row.name, row.default)) for row in PARAMETERS
        }
        config = cls(**checked)
        check_together(config)
        return config

    @property
    def cameras(self) -> tuple[CameraTopic, ...]:
        """The cameras, with their topics."""
        cameras = parse_cameras(self.image_topics)
        return with_space(
            [replace(camera, tracking=self.tracking) for camera in cameras],
            depth=self.depth_topics,
            camera_info=self.camera_info_topics,
            depth_info=self.depth_info_topics,
            compressed=self.depth_transport == "compressedDepth",
            publish_tf=self.publish_tf,
        )


PARAMETERS: tuple[Parameter, ...] = table_of(Config)


def defaults() -> dict[str, Any]:
    """Return the default of every parameter, by name."""
    return {entry.name: entry.default for entry in PARAMETERS}


def markdown_table() -> str:
    """Return the table of parameters as the documentation shows it."""
    return as_markdown(PARAMETERS)
