"""Sends thousands of malformed and hostile inputs to one running node over topics and services.

After each batch the node runs, answers a good frame and query with correct masks, and has
rejected each input with a message or counted it on ``/diagnostics``. At the end it holds no more
memory, threads and files than at the start. ``ros.hostile`` makes the inputs with fixed seeds.
"""

import math
import random
import struct

import pytest
from clip_surgery_ros.msg import TextQuery
from clip_surgery_ros.srv import Segment, SetQuery
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.parameter import Parameter as RosParameter
from rclpy.serialization import serialize_message
from ros import hostile
from ros.harness import ros_domain, wait_for_reader, wait_until
from ros.target import PATIENCE_S, running_target
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from type_description_interfaces.srv import GetTypeDescription

from clip_surgery_ros.parameters.config import PARAMETERS
from clip_surgery_ros.ros.images import image_message

MIN_INPUTS = 5000
MAX_MESSAGE_LENGTH = 600
"""Characters; the longest message lists all encodings."""
BOMBS_MIB = 100
"""More than the files' bytes, a fraction of the decoded size that each claims."""
GROWTH_MIB = 100
"""Growth of resident memory since the warm-up: networks need buffers for large inputs."""
FLOOD_MIB = 10
"""Growth since the first flood, after further floods of the same inputs."""
THREADS, FILES = 3, 5
"""Growth since the warm-up: the middleware adds some for the second image topic."""


class Fuzzer:
    """Sends inputs to the target at its pace, and counts them."""

    def __init__(self, target):
        self.target = target
        self.sent = self.segment_calls = 0
        self.queries = target.node.create_publisher(String, "query", 10)
        self.text_queries = target.node.create_publisher(TextQuery, "/clip_surgery/text_query", 10)
        # Stays open: rclpy may raise if a publisher closes while an executor uses it.
        self.compressed_images = target.node.create_publisher(
            CompressedImage, "image_raw/compressed", 10
        )
        wait_for_reader(self.queries)
        wait_for_reader(self.text_queries)

    def keep_pace(self):
        """Call a service that is answered in turn with queries: earlier queries were processed."""
        self.target.call(GetState, "get_state", GetState.Request())

    def keep_pace_of_frames(self):
        """Call a service that is answered in turn with frames: earlier frames were processed."""
        image = Image(encoding="none, to keep pace")
        assert not self.segment(image=image, labels=["mug"]).success

    def publish(self, publisher, inputs, keep_pace=None):
        """Publish each input and wait until the node has taken it."""
        for message in inputs:
            publisher.publish(message)
            self.sent += 1
            (keep_pace or self.keep_pace)()

    def call(self, kind, name, request):
        self.sent += 1
        return self.target.call(kind, name, request)

    def segment(self, **fields):
        self.segment_calls += 1
        return self.target.call(Segment, "segment", Segment.Request(**fields))

    def frames(self, inputs, publisher=None):
        """Publish frames; return the increase of each frame count, and the last error."""
        before, _ = self.target.settled_counts()
        self.publish(publisher or self.target.images, inputs, self.keep_pace_of_frames)
        after, last_error = self.target.settled_counts()
        return {name: after[name] - before[name] for name in after}, last_error

    def query_counts(self, least=0):
        """Return the queries accepted and refused so far; wait for at least so many."""
        node, _ = self.target.health(lambda node, _: sum(query_counts(node)) >= least)
        return query_counts(node)

    def set(self, name, value):
        parameters = [RosParameter(name, value=value).to_parameter_msg()]
        request = SetParameters.Request(parameters=parameters)
        return self.call(SetParameters, "set_parameters", request).results[0]

    def change(self, transition):
        request = ChangeState.Request(transition=transition)
        return self.call(ChangeState, "change_state", request).success

    def flood(self):
        """Send hundreds of all inputs without a pause; return the frame counts afterwards."""
        rng = rng_of("flood")
        images = [maker(rng) for maker in hostile.INVALID_IMAGES for _ in range(50)]
        images += damaged_images(rng, 200)
        queries = [String(data=hostile.unusual_text(rng)) for _ in range(200)]
        queries += damaged_queries(rng, 200)
        everything = [(self.target.images, image) for image in images]
        everything += [(self.queries, query) for query in queries]
        rng.shuffle(everything)
        for publisher, message in everything:
            publisher.publish(message)
        self.sent += len(everything)
        self.keep_pace()
        return self.target.settled_counts()[0]


def query_counts(node):
    return int(node["query sequence"]), int(node["queries refused"])


@pytest.fixture(scope="module")
def fuzzer():
    with ros_domain() as context, running_target(context) as target:
        fuzzer = Fuzzer(target)
        # Warm-up: first uses load code and allocate buffers before the measurement.
        for _ in range(5):
            target.check_answers()
        fuzzer.call(SetQuery, "set_query", SetQuery.Request(labels=["x" * 3000]))
        for _ in range(20):
            fuzzer.segment(image=target.picture())
        fuzzer.start = target.process.footprint()
        print("after the warm-up:", fuzzer.start)
        yield fuzzer


@pytest.fixture(autouse=True)
def check_node_afterwards(fuzzer):
    process = fuzzer.target.process
    assert process.alive, "the node ended in an earlier batch"
    start = len(process.lines)
    fuzzer.target.ask("mug")
    yield
    assert process.alive, process.text()[-5000:]
    fuzzer.target.check_answers()
    assert "Traceback" not in "\n".join(process.lines[start:])


def rng_of(*parts):
    """Return a generator for this batch, so that a batch has the same inputs when run alone."""
    return random.Random(repr(parts))


def check_message(text):
    assert text and len(text) <= MAX_MESSAGE_LENGTH, (len(text), text[:200])
    for part in ("Traceback", 'File "', "OpenCV(", "RuntimeError", "\x1b", "\n"):
        assert part not in text, text


def name_of(maker):
    return maker.__name__


# Frames


@pytest.mark.parametrize("maker", hostile.INVALID_IMAGES, ids=name_of)
def test_unusable_frames_fail_with_a_message(fuzzer, maker):
    rng, count = rng_of("frames", maker.__name__), 150
    counts, last_error = fuzzer.frames(maker(rng) for _ in range(count))
    assert counts["failed"] + counts["dropped"] == counts["in"] <= count, counts
    assert counts["failed"] > 0.8 * count, "most frames must be received and processed"
    check_message(last_error)


@pytest.mark.parametrize("maker", hostile.INVALID_IMAGES, ids=name_of)
def test_unusable_image_of_a_segment_call_is_rejected_with_a_message(fuzzer, maker):
    rng = rng_of("supplied", maker.__name__)
    labels = list(fuzzer.target.scene.names)
    for _ in range(100):
        image = maker(rng)
        if not (image.data or image.encoding):
            continue  # an empty image requests the camera's image
        fuzzer.sent += 1
        answer = fuzzer.segment(image=image, labels=labels)
        assert not answer.success, answer.message
        check_message(answer.message)


def test_unusual_images_are_answered(fuzzer):
    rng = rng_of("odd images")
    for maker in [hostile.unusual_but_valid] * 60 + [hostile.too_narrow] * 10:
        image = maker(rng)
        fuzzer.sent += 1
        answer = fuzzer.segment(image=image, labels=["mug", "saw"])
        assert answer.success, answer.message
        assert answer.result.header == image.header


def test_any_frame_id_is_returned_unchanged(fuzzer):
    for frame_id in hostile.FRAME_IDS:
        fuzzer.sent += 1

        def odd(frame_id=frame_id):
            image = fuzzer.target.picture()
            image.header.frame_id = frame_id
            return image

        fuzzer.target.answer_to(odd)


STAMPS = [
    *((-1, 0), (-(2**31), 0), (-(2**31), 2**32 - 1), (2**31 - 1, 2**32 - 1), (2**31 - 1, 0)),
    *((0, 2**32 - 1), (0, 1), (1, 0), (-5, 10**9), (2**30, 0)),
]


def stamped(sec, nanosec):
    image = image_message(hostile.np.zeros((16, 16, 3), "uint8"), "rgb8", Header())
    image.header.stamp.sec, image.header.stamp.nanosec = sec, nanosec
    return image


def test_any_stamp_is_returned_unchanged(fuzzer):
    for sec, nanosec in STAMPS:
        fuzzer.sent += 1
        fuzzer.target.answer_to(lambda s=sec, n=nanosec: stamped(s, n))


def test_frames_of_any_age_are_answered_or_skipped_without_error(fuzzer):
    assert fuzzer.set("max_frame_age_s", 30.0).successful
    try:
        counts, last_error = fuzzer.frames(stamped(*stamp) for stamp in STAMPS * 5)
    finally:
        assert fuzzer.set("max_frame_age_s", 0.0).successful
    assert counts["failed"] == 0 and last_error == ""
    assert counts["answered"] and counts["skipped: too old"]
    total = counts["answered"] + counts["skipped: too old"] + counts["dropped"]
    assert total == counts["in"] > len(STAMPS)


def damaged_images(rng, count):
    for _ in range(count):
        image = hostile.picture(rng, rng.choice(("rgb8", "mono8")))
        yield hostile.damaged(serialize_message(image), rng)


def test_damaged_serialized_images_are_counted(fuzzer):
    # The middleware drops truncated messages; the others are counted like any frame.
    count = 700
    counts, last_error = fuzzer.frames(damaged_images(rng_of("wire"), count))
    assert count / 7 < counts["in"] <= count
    assert counts["failed"] + counts["dropped"] == counts["in"]
    check_message(last_error)


# Queries


def damaged_queries(rng, count):
    for _ in range(count):
        text = String(data=hostile.unusual_text(rng))
        yield hostile.damaged(serialize_message(text), rng)


def damaged_text_queries(rng, count):
    for _ in range(count):
        labels = [hostile.unusual_text(rng) for _ in range(rng.randint(1, 5))]
        query = TextQuery(labels=labels, thresholds=[0.1] * len(labels))
        yield hostile.damaged(serialize_message(query), rng)


def invalid_texts(rng, count):
    """Yield strings that are not UTF-8: lone surrogates, cut characters, noise."""
    for _ in range(count):
        noise = rng.randbytes(rng.randint(1, 60)).replace(b"\0", b"\xff")
        data = rng.choice((b"\xed\xa0\x80", b"mug\xed\xb0\x80", b"\xf0\x9f\x98", b"\xff", noise))
        yield b"\0\1\0\0" + struct.pack("<I", len(data) + 1) + data + b"\0"


@pytest.mark.parametrize(
    ("topic", "maker"),
    [
        ("queries", damaged_queries),
        ("text_queries", damaged_text_queries),
        ("queries", invalid_texts),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_damaged_serialized_queries_are_counted_or_dropped_by_the_middleware(fuzzer, topic, maker):
    accepted, refused = fuzzer.query_counts()
    count = 300
    fuzzer.publish(getattr(fuzzer, topic), maker(rng_of(maker.__name__), count))
    accepted_after, refused_after = fuzzer.query_counts()
    assert 0 < accepted_after - accepted + refused_after - refused <= count


def test_invalid_query_texts_are_rejected_and_counted(fuzzer):
    rng, count = rng_of("texts"), 120
    accepted, refused = fuzzer.query_counts()
    texts = (String(data=hostile.invalid_text(rng)) for _ in range(count))
    fuzzer.publish(fuzzer.queries, texts)
    counts = fuzzer.query_counts(accepted + refused + count)
    assert counts == (accepted, refused + count)
    node, _ = fuzzer.target.health()
    check_message(node["last error"])


def test_unusual_query_texts_are_accepted(fuzzer):
    rng, count = rng_of("odd texts"), 150
    accepted, refused = fuzzer.query_counts()
    texts = (String(data=hostile.unusual_text(rng)) for _ in range(count))
    fuzzer.publish(fuzzer.queries, texts)
    counts = fuzzer.query_counts(accepted + refused + count)
    assert counts == (accepted + count, refused)


def test_invalid_text_query_messages_are_rejected_and_counted(fuzzer):
    rng, count = rng_of("text queries"), 150
    accepted, refused = fuzzer.query_counts()
    queries = (TextQuery(**hostile.invalid_labels(rng)) for _ in range(count))
    fuzzer.publish(fuzzer.text_queries, queries)
    counts = fuzzer.query_counts(accepted + refused + count)
    assert counts == (accepted, refused + count)


def test_set_query_with_invalid_labels_is_rejected_with_a_message(fuzzer):
    rng = rng_of("set query")
    sequence = fuzzer.target.ask("saw")
    for _ in range(200):
        request = SetQuery.Request(**hostile.invalid_labels(rng))
        answer = fuzzer.call(SetQuery, "set_query", request)
        assert not answer.success and answer.sequence == sequence
        check_message(answer.message)


def test_segment_call_with_invalid_labels_is_rejected_with_a_message(fuzzer):
    rng = rng_of("segment labels")
    image = fuzzer.target.picture()
    for _ in range(200):
        fields = hostile.invalid_labels(rng)
        if fields["labels"]:
            fuzzer.sent += 1
            answer = fuzzer.segment(image=image, **fields)
            assert not answer.success
            check_message(answer.message)


def test_segment_call_with_unknown_camera_is_rejected_with_a_message(fuzzer):
    for camera in (*hostile.FRAME_IDS[1:], "front", "camera"):
        fuzzer.sent += 1
        answer = fuzzer.segment(camera=camera, labels=["mug"])
        assert not answer.success
        check_message(answer.message)


def test_segment_call_with_unusual_labels_is_answered(fuzzer):
    image = fuzzer.target.picture()
    for text in hostile.UNUSUAL_TEXTS:
        fuzzer.sent += 1
        answer = fuzzer.segment(image=image, labels=[text, "mug"], thresholds=[math.nan, -1.0])
        assert answer.success, answer.message
        assert answer.result.header == image.header


LONG = random.Random(5)
TOO_MUCH = {
    "a label of 100,000 letters": ["".join(LONG.choices("abcdefghij", k=100_000))],
    "4,000 parts": ["+".join(f"{number:x}" for number in range(4000))],
    "254 labels of 10,000 letters": [f"{number} " + "x" * 10_000 for number in range(254)],
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_labels_above_the_length_limits_are_rejected_by_all_interfaces(fuzzer, what):
    labels = TOO_MUCH[what]
    for answer in (
        fuzzer.call(SetQuery, "set_query", SetQuery.Request(labels=labels)),
        fuzzer.segment(image=fuzzer.target.picture(), labels=labels),
    ):
        assert not answer.success
        check_message(answer.message)
    accepted, refused = fuzzer.query_counts()
    fuzzer.publish(fuzzer.queries, [String(data=";".join(labels))])
    fuzzer.publish(fuzzer.text_queries, [TextQuery(labels=labels)])
    assert fuzzer.query_counts(accepted + refused + 2) == (accepted, refused + 2)


def test_label_of_thousands_of_letters_is_answered(fuzzer):
    letters = "".join(rng_of("letters").choices("abcdefghij", k=5000))
    assert fuzzer.segment(image=fuzzer.target.picture(), labels=[letters]).success


# Parameters and transitions

VALUES = {
    "bool": True,
    "int": 2**63 - 1,
    "float": 1e300,
    "str": "{}%s\x07" * 100,
    "bytes": [b"\xff"] * 9,
    "bools": [True],
    "ints": [-1],
    "floats": [1e300],
    "tuple": ["", "/"],
    "nothing": None,
}
"""Values by the name of their type, as in the table of parameters."""
UNKNOWN = ("nonsense", "points.", " threshold", "{}", "😀", "a" * 10_000, "image_topics[0]")
MANY = ";".join(f"thing {number}" for number in range(300))
INFINITE = (math.inf, -math.inf)


def invalid_values():
    """Yield wrong types for every parameter, numbers out of range, and unknown names."""
    for entry in PARAMETERS:
        kind = type(entry.default).__name__
        accepted = (kind, "int") if kind == "float" and entry.maximum is None else (kind,)
        yield from ((entry.name, value) for name, value in VALUES.items() if name not in accepted)
        if entry.choices:
            yield entry.name, VALUES["str"]
        if entry.minimum is not None:
            yield entry.name, type(entry.default)(entry.minimum - 1)
            if isinstance(entry.default, float):
                yield from ((entry.name, number) for number in (math.nan, -1e-300, *INFINITE))
        if entry.maximum is not None:
            yield entry.name, type(entry.default)(entry.maximum + 1)
    yield from (("threshold", number) for number in (2.0, -1.5, *INFINITE))
    yield from (("default_query", text) for text in ("x" * 100_000, "mug\x07", MANY))
    yield from ((name, value) for name in UNKNOWN for value in VALUES.values())


def test_invalid_parameters_are_rejected_with_a_reason(fuzzer):
    for name, value in invalid_values():
        result = fuzzer.set(name, value)
        assert not result.successful, (name, value)
        assert result.reason and "Traceback" not in result.reason


@pytest.mark.parametrize(
    ("kind", "name"),
    [(SetParameters, "set_parameters"), (SetParametersAtomically, "set_parameters_atomically")],
    ids=["one by one", "together"],
)
def test_parameter_with_an_undefined_type_is_rejected(fuzzer, kind, name):
    for number in (10, 11, 99, 200, 255):
        parameter = Parameter(name="recipe", value=ParameterValue(type=number))
        answer = fuzzer.call(kind, name, kind.Request(parameters=[parameter]))
        result = answer.results[0] if kind is SetParameters else answer.result
        assert not result.successful
        check_message(result.reason)


QUERY_SERVICES = {
    "get_parameters": (GetParameters, lambda answer: [value.type for value in answer.values]),
    "get_parameter_types": (GetParameterTypes, lambda answer: answer.types),
    "describe_parameters": (
        DescribeParameters,
        lambda answer: [descriptor.type for descriptor in answer.descriptors],
    ),
}
"""Services that take parameter names, and the values in their answers."""


def test_requests_for_unknown_parameters_and_types_get_empty_answers(fuzzer):
    for name in (*UNKNOWN, *hostile.FRAME_IDS[1:], *hostile.UNUSUAL_TEXTS):
        for service, (kind, found) in QUERY_SERVICES.items():
            answer = fuzzer.call(kind, service, kind.Request(names=[name]))
            assert not any(found(answer)), (service, name)
        request = ListParameters.Request(prefixes=[name or "nobody"], depth=2**64 - 1)
        assert not fuzzer.call(ListParameters, "list_parameters", request).result.names
        request = GetTypeDescription.Request(type_name=name, type_hash=name)
        assert not fuzzer.call(GetTypeDescription, "get_type_description", request).successful


def test_invalid_transitions_are_rejected(fuzzer):
    valid = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    transitions = [Transition(id=number) for number in range(256) if number not in valid]
    transitions += [Transition(label=label) for label in (*hostile.FRAME_IDS[1:], "create")]
    for transition in transitions:
        assert not fuzzer.change(transition)
    state = fuzzer.target.call(GetState, "get_state", GetState.Request())
    assert state.current_state.label == "active"


# Compressed images


@pytest.fixture
def compressed_images(fuzzer):
    """Give a publisher of compressed images while the node subscribes to them."""

    def set_transport(transport):
        assert fuzzer.change(Transition(id=Transition.TRANSITION_DEACTIVATE))
        assert fuzzer.set("image_transport", transport).successful
        assert fuzzer.change(Transition(id=Transition.TRANSITION_ACTIVATE))

    set_transport("compressed")
    wait_for_reader(fuzzer.compressed_images)
    yield fuzzer.compressed_images
    set_transport("raw")
    wait_for_reader(fuzzer.target.images)


def test_broken_compressed_images_are_counted(fuzzer, compressed_images):
    rng, count = rng_of("compressed"), 400
    inputs = (hostile.compressed(rng) for _ in range(count))
    counts, _ = fuzzer.frames(inputs, compressed_images)
    assert counts["answered"] + counts["failed"] + counts["dropped"] == counts["in"] <= count
    assert counts["failed"] > count / 2


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [
        ("jpeg", b"no picture", "expected a whole JPEG or PNG"),
        ("{}\x1b[2J" + "x" * 100_000, b"", "expected a whole JPEG or PNG"),
        ("16UC1; compressedDepth png", hostile.encoded(".png", random.Random(1)), "depth image"),
        ("32FC1; compressedDepth rvl", bytes(range(64)), "depth image"),
    ],
    ids=["no picture", "no format", "depth as PNG", "depth as RVL"],
)
def test_unusable_compressed_image_fails_with_a_message(
    fuzzer, compressed_images, kind, data, error
):
    message = CompressedImage(format=kind, data=data)
    counts, last_error = fuzzer.frames([message], compressed_images)
    assert counts["failed"] == 1
    assert error in last_error
    check_message(last_error)


def test_decompression_bombs_are_rejected_before_decoding(fuzzer, compressed_images):
    before_mib = fuzzer.target.process.peak_mib
    bombs = dict(hostile.bombs(random.Random(1)))
    messages = [CompressedImage(format=name, data=data) for name, data in bombs.items()]
    counts, last_error = fuzzer.frames(messages, compressed_images)
    assert counts["failed"] == len(bombs), counts
    check_message(last_error)
    assert fuzzer.target.process.peak_mib - before_mib < BOMBS_MIB


# All together


def test_flood_of_all_inputs_is_counted(fuzzer):
    before, _ = fuzzer.target.settled_counts()
    queries = sum(fuzzer.query_counts())
    after = fuzzer.flood()
    assert after["failed"] > before["failed"]
    assert sum(fuzzer.query_counts()) > queries


def test_repeated_floods_do_not_grow_memory_threads_and_files(fuzzer):
    process, start = fuzzer.target.process, fuzzer.start
    fuzzer.flood()
    middle = process.footprint()
    for _ in range(3):
        fuzzer.flood()

    def is_settled():
        now = process.footprint()
        return (
            now.held_mib <= start.held_mib + GROWTH_MIB
            and now.held_mib <= middle.held_mib + FLOOD_MIB
            and now.threads <= start.threads + THREADS
            and now.files <= start.files + FILES
        )

    print(f"{fuzzer.sent} inputs; {start}, {middle}, {process.footprint()}")
    wait_until(is_settled, PATIENCE_S)


def test_all_segment_calls_were_counted_among_thousands_of_inputs(fuzzer):
    """Counts all batches, so it fails if only some of them ran."""
    node, _ = fuzzer.target.health()
    counts = [int(node[f"segment calls{what}: count"]) for what in ("", " answered", " refused")]
    assert counts[0] == fuzzer.segment_calls == counts[1] + counts[2]
    assert fuzzer.sent >= MIN_INPUTS
