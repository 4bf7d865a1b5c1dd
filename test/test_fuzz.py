"""Thousands of malformed and hostile inputs at one running node, over real topics and services.

After each batch the node lives, a good frame with a good query is answered with the right masks,
and every input is accounted for: refused in a sentence, or counted on ``/diagnostics``. At the end
it holds no more than at the start. Everything thrown comes from ``ros.hostile`` with a fixed seed.
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

LEAST_INPUTS = 5000
LONGEST_SENTENCE = 600
"""Characters; the longest lists every encoding that is known."""
BOMBS_MIB = 100
"""More than the bombs' bytes, a fraction of what each of them claims."""
GROWTH_MIB = 100
"""Resident memory on top of the warm-up's: networks grow buffers for the largest inputs."""
STORM_MIB = 10
"""On top of the first storm's, after as many again: by then nothing is new to the node."""
THREADS, FILES = 3, 5
"""More than after the warm-up: the middleware keeps some of its own for another image topic."""


class Thrower:
    """Throws at the target, in step with it, and counts what was thrown."""

    def __init__(self, target):
        self.target = target
        self.thrown = self.segment_calls = 0
        self.queries = target.node.create_publisher(String, "query", 10)
        self.text_queries = target.node.create_publisher(TextQuery, "/clip_surgery/text_query", 10)
        # Kept open: rclpy may raise where one is closed while an executor looks at it.
        self.compressed_images = target.node.create_publisher(
            CompressedImage, "image_raw/compressed", 10
        )
        wait_for_reader(self.queries)
        wait_for_reader(self.text_queries)

    def keep_pace(self):
        """A call of those that are answered in turn with queries: the ones before were taken."""
        self.target.call(GetState, "get_state", GetState.Request())

    def keep_pace_of_frames(self):
        """A call that is answered in turn with frames: the ones before were looked at."""
        image = Image(encoding="none, to keep pace")
        assert not self.segment(image=image, labels=["mug"]).success

    def publish(self, publisher, inputs, keep_pace=None):
        """Publish each, and give the node the time to take it."""
        for message in inputs:
            publisher.publish(message)
            self.thrown += 1
            (keep_pace or self.keep_pace)()

    def call(self, kind, name, request):
        self.thrown += 1
        return self.target.call(kind, name, request)

    def segment(self, **fields):
        self.segment_calls += 1
        return self.target.call(Segment, "segment", Segment.Request(**fields))

    def frames(self, inputs, publisher=None):
        """Publish frames; returns what became of them, by name, and the last error."""
        before, _ = self.target.settled()
        self.publish(publisher or self.target.images, inputs, self.keep_pace_of_frames)
        after, last_error = self.target.settled()
        return {name: after[name] - before[name] for name in after}, last_error

    def query_counts(self, least=0):
        """Queries accepted and refused so far, once they are so many."""
        node, _ = self.target.health(lambda node, _: sum(query_counts(node)) >= least)
        return query_counts(node)

    def set(self, name, value):
        parameters = [RosParameter(name, value=value).to_parameter_msg()]
        request = SetParameters.Request(parameters=parameters)
        return self.call(SetParameters, "set_parameters", request).results[0]

    def change(self, transition):
        request = ChangeState.Request(transition=transition)
        return self.call(ChangeState, "change_state", request).success

    def storm(self):
        """Throw some hundreds of everything without a pause; the counts of frames afterwards."""
        rng = rng_of("storm")
        images = [maker(rng) for maker in hostile.REFUSABLE for _ in range(50)]
        images += damaged_images(rng, 200)
        queries = [String(data=hostile.odd_text(rng)) for _ in range(200)]
        queries += damaged_queries(rng, 200)
        everything = [(self.target.images, image) for image in images]
        everything += [(self.queries, query) for query in queries]
        rng.shuffle(everything)
        for publisher, message in everything:
            publisher.publish(message)
        self.thrown += len(everything)
        self.keep_pace()
        return self.target.settled()[0]


def query_counts(node):
    return int(node["query sequence"]), int(node["queries refused"])


@pytest.fixture(scope="module")
def thrower():
    with ros_domain() as context, running_target(context) as target:
        thrower = Thrower(target)
        # Warm-up: what is loaded or sized on first use is there before anything is measured.
        for _ in range(5):
            target.check_well()
        thrower.call(SetQuery, "set_query", SetQuery.Request(labels=["x" * 3000]))
        for _ in range(20):
            thrower.segment(image=target.picture())
        thrower.start = target.process.footprint()
        print("after the warm-up:", thrower.start)
        yield thrower


@pytest.fixture(autouse=True)
def well_afterwards(thrower):
    process = thrower.target.process
    assert process.alive, "it ended in an earlier batch"
    said = len(process.lines)
    thrower.target.ask("mug")
    yield
    assert process.alive, process.text()[-5000:]
    thrower.target.check_well()
    assert "Traceback" not in "\n".join(process.lines[said:])


def rng_of(*parts):
    """A generator of this batch's own: batches may run alone and still be the same."""
    return random.Random(repr(parts))


def check_sentence(text):
    assert text and len(text) <= LONGEST_SENTENCE, (len(text), text[:200])
    for part in ("Traceback", 'File "', "OpenCV(", "RuntimeError", "\x1b", "\n"):
        assert part not in text, text


def name_of(maker):
    return maker.__name__


# Frames


@pytest.mark.parametrize("maker", hostile.REFUSABLE, ids=name_of)
def test_frames_that_cannot_be_used_fail_in_a_sentence(thrower, maker):
    rng, count = rng_of("frames", maker.__name__), 150
    became, last_error = thrower.frames(maker(rng) for _ in range(count))
    assert became["failed"] + became["dropped"] == became["in"] <= count, became
    assert became["failed"] > 0.8 * count, "most frames shall arrive and be looked at"
    check_sentence(last_error)


@pytest.mark.parametrize("maker", hostile.REFUSABLE, ids=name_of)
def test_a_supplied_image_that_cannot_be_used_is_refused_in_a_sentence(thrower, maker):
    rng = rng_of("supplied", maker.__name__)
    labels = list(thrower.target.scene.names)
    for _ in range(100):
        image = maker(rng)
        if not (image.data or image.encoding):
            continue  # asks for the camera's own image
        thrower.thrown += 1
        answer = thrower.segment(image=image, labels=labels)
        assert not answer.success, answer.message
        check_sentence(answer.message)


def test_odd_images_are_answered(thrower):
    rng = rng_of("odd images")
    for maker in [hostile.odd_but_whole] * 60 + [hostile.too_narrow] * 10:
        image = maker(rng)
        thrower.thrown += 1
        answer = thrower.segment(image=image, labels=["mug", "saw"])
        assert answer.success, answer.message
        assert answer.result.header == image.header


def test_frame_ids_of_any_text_come_back_as_they_are(thrower):
    for frame_id in hostile.FRAME_IDS:
        thrower.thrown += 1

        def odd(frame_id=frame_id):
            image = thrower.target.picture()
            image.header.frame_id = frame_id
            return image

        thrower.target.answer_to(odd)


STAMPS = [
    *((-1, 0), (-(2**31), 0), (-(2**31), 2**32 - 1), (2**31 - 1, 2**32 - 1), (2**31 - 1, 0)),
    *((0, 2**32 - 1), (0, 1), (1, 0), (-5, 10**9), (2**30, 0)),
]


def stamped(sec, nanosec):
    image = image_message(hostile.np.zeros((16, 16, 3), "uint8"), "rgb8", Header())
    image.header.stamp.sec, image.header.stamp.nanosec = sec, nanosec
    return image


def test_frames_of_any_stamp_are_answered_with_it(thrower):
    for sec, nanosec in STAMPS:
        thrower.thrown += 1
        thrower.target.answer_to(lambda s=sec, n=nanosec: stamped(s, n))


def test_stamps_of_any_age_are_taken_or_too_old_and_never_fail(thrower):
    assert thrower.set("max_frame_age_s", 30.0).successful
    try:
        became, last_error = thrower.frames(stamped(*stamp) for stamp in STAMPS * 5)
    finally:
        assert thrower.set("max_frame_age_s", 0.0).successful
    assert became["failed"] == 0 and last_error == ""
    assert became["answered"] and became["skipped: too old"]
    taken = became["answered"] + became["skipped: too old"] + became["dropped"]
    assert taken == became["in"] > len(STAMPS)


def damaged_images(rng, count):
    for _ in range(count):
        image = hostile.picture(rng, rng.choice(("rgb8", "mono8")))
        yield hostile.damaged(serialize_message(image), rng)


def test_images_damaged_on_the_wire_are_all_accounted_for(thrower):
    # The middleware keeps back what is cut off; what arrives is counted like any other frame.
    count = 700
    became, last_error = thrower.frames(damaged_images(rng_of("wire"), count))
    assert count / 7 < became["in"] <= count
    assert became["failed"] + became["dropped"] == became["in"]
    check_sentence(last_error)


# Queries


def damaged_queries(rng, count):
    for _ in range(count):
        text = String(data=hostile.odd_text(rng))
        yield hostile.damaged(serialize_message(text), rng)


def damaged_text_queries(rng, count):
    for _ in range(count):
        labels = [hostile.odd_text(rng) for _ in range(rng.randint(1, 5))]
        query = TextQuery(labels=labels, thresholds=[0.1] * len(labels))
        yield hostile.damaged(serialize_message(query), rng)


def invalid_texts(rng, count):
    """Strings of bytes that are no UTF-8: lone surrogates, halves of characters, noise."""
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
def test_queries_damaged_on_the_wire_are_accepted_refused_or_kept_back(thrower, topic, maker):
    accepted, refused = thrower.query_counts()
    count = 300
    thrower.publish(getattr(thrower, topic), maker(rng_of(maker.__name__), count))
    accepted_after, refused_after = thrower.query_counts()
    assert 0 < accepted_after - accepted + refused_after - refused <= count


def test_texts_that_cannot_be_asked_are_refused_and_counted(thrower):
    rng, count = rng_of("texts"), 120
    accepted, refused = thrower.query_counts()
    texts = (String(data=hostile.refusable_text(rng)) for _ in range(count))
    thrower.publish(thrower.queries, texts)
    counts = thrower.query_counts(accepted + refused + count)
    assert counts == (accepted, refused + count)
    node, _ = thrower.target.health()
    check_sentence(node["last error"])


def test_odd_texts_are_queries_like_any_other(thrower):
    rng, count = rng_of("odd texts"), 150
    accepted, refused = thrower.query_counts()
    texts = (String(data=hostile.odd_text(rng)) for _ in range(count))
    thrower.publish(thrower.queries, texts)
    counts = thrower.query_counts(accepted + refused + count)
    assert counts == (accepted + count, refused)


def test_messages_of_labels_that_cannot_be_asked_are_refused_and_counted(thrower):
    rng, count = rng_of("text queries"), 150
    accepted, refused = thrower.query_counts()
    queries = (TextQuery(**hostile.refusable_labels(rng)) for _ in range(count))
    thrower.publish(thrower.text_queries, queries)
    counts = thrower.query_counts(accepted + refused + count)
    assert counts == (accepted, refused + count)


def test_calls_with_labels_that_cannot_be_asked_are_refused_in_a_sentence(thrower):
    rng = rng_of("set query")
    sequence = thrower.target.ask("saw")
    for _ in range(200):
        request = SetQuery.Request(**hostile.refusable_labels(rng))
        answer = thrower.call(SetQuery, "set_query", request)
        assert not answer.success and answer.sequence == sequence
        check_sentence(answer.message)


def test_segment_calls_that_ask_nonsense_are_refused_in_a_sentence(thrower):
    rng = rng_of("segment labels")
    image = thrower.target.picture()
    for _ in range(200):
        asked = hostile.refusable_labels(rng)
        if asked["labels"]:
            thrower.thrown += 1
            answer = thrower.segment(image=image, **asked)
            assert not answer.success
            check_sentence(answer.message)


def test_segment_calls_for_a_camera_that_is_not_there_are_refused_in_a_sentence(thrower):
    for camera in (*hostile.FRAME_IDS[1:], "front", "camera"):
        thrower.thrown += 1
        answer = thrower.segment(camera=camera, labels=["mug"])
        assert not answer.success
        check_sentence(answer.message)


def test_odd_labels_are_looked_for_like_any_other(thrower):
    image = thrower.target.picture()
    for text in hostile.ODD_TEXTS:
        thrower.thrown += 1
        answer = thrower.segment(image=image, labels=[text, "mug"], thresholds=[math.nan, -1.0])
        assert answer.success, answer.message
        assert answer.result.header == image.header


LONG = random.Random(5)
TOO_MUCH = {
    "a label of 100,000 letters": ["".join(LONG.choices("abcdefghij", k=100_000))],
    "4,000 parts": ["+".join(f"{number:x}" for number in range(4000))],
    "254 labels of 10,000 letters": [f"{number} " + "x" * 10_000 for number in range(254)],
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_labels_that_would_take_minutes_to_read_are_refused_by_every_door(thrower, what):
    labels = TOO_MUCH[what]
    for answer in (
        thrower.call(SetQuery, "set_query", SetQuery.Request(labels=labels)),
        thrower.segment(image=thrower.target.picture(), labels=labels),
    ):
        assert not answer.success
        check_sentence(answer.message)
    accepted, refused = thrower.query_counts()
    thrower.publish(thrower.queries, [String(data=";".join(labels))])
    thrower.publish(thrower.text_queries, [TextQuery(labels=labels)])
    assert thrower.query_counts(accepted + refused + 2) == (accepted, refused + 2)


def test_one_label_of_thousands_of_letters_is_answered(thrower):
    letters = "".join(rng_of("letters").choices("abcdefghij", k=5000))
    assert thrower.segment(image=thrower.target.picture(), labels=[letters]).success


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
"""By the type that it has, as the table of parameters calls those that it uses."""
UNKNOWN = ("nonsense", "points.", " threshold", "{}", "😀", "a" * 10_000, "image_topics[0]")
MANY = ";".join(f"thing {number}" for number in range(300))
INFINITE = (math.inf, -math.inf)


def refusable_values():
    """Wrong types for every parameter, numbers out of range, and names that nobody has."""
    for entry in PARAMETERS:
        kind = type(entry.default).__name__
        taken = (kind, "int") if kind == "float" and entry.maximum is None else (kind,)
        yield from ((entry.name, value) for name, value in VALUES.items() if name not in taken)
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


def test_parameters_that_cannot_be_used_are_refused_with_a_reason(thrower):
    for name, value in refusable_values():
        result = thrower.set(name, value)
        assert not result.successful, (name, value)
        assert result.reason and "Traceback" not in result.reason


@pytest.mark.parametrize(
    ("kind", "name"),
    [(SetParameters, "set_parameters"), (SetParametersAtomically, "set_parameters_atomically")],
    ids=["one by one", "together"],
)
def test_a_parameter_of_a_type_that_is_none_is_refused(thrower, kind, name):
    for number in (10, 11, 99, 200, 255):
        parameter = Parameter(name="recipe", value=ParameterValue(type=number))
        answer = thrower.call(kind, name, kind.Request(parameters=[parameter]))
        result = answer.results[0] if kind is SetParameters else answer.result
        assert not result.successful
        check_sentence(result.reason)


QUESTIONS = {
    "get_parameters": (GetParameters, lambda answer: [value.type for value in answer.values]),
    "get_parameter_types": (GetParameterTypes, lambda answer: answer.types),
    "describe_parameters": (
        DescribeParameters,
        lambda answer: [descriptor.type for descriptor in answer.descriptors],
    ),
}
"""Services that are asked by names, and what they find."""


def test_questions_for_what_is_not_there_are_answered_with_nothing(thrower):
    for name in (*UNKNOWN, *hostile.FRAME_IDS[1:], *hostile.ODD_TEXTS):
        for service, (kind, found) in QUESTIONS.items():
            answer = thrower.call(kind, service, kind.Request(names=[name]))
            assert not any(found(answer)), (service, name)
        request = ListParameters.Request(prefixes=[name or "nobody"], depth=2**64 - 1)
        assert not thrower.call(ListParameters, "list_parameters", request).result.names
        request = GetTypeDescription.Request(type_name=name, type_hash=name)
        assert not thrower.call(GetTypeDescription, "get_type_description", request).successful


def test_transitions_that_the_state_does_not_have_are_refused(thrower):
    fit = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    transitions = [Transition(id=number) for number in range(256) if number not in fit]
    transitions += [Transition(label=label) for label in (*hostile.FRAME_IDS[1:], "create")]
    for transition in transitions:
        assert not thrower.change(transition)
    state = thrower.target.call(GetState, "get_state", GetState.Request())
    assert state.current_state.label == "active"


# Compressed images


@pytest.fixture
def compressed_images(thrower):
    """A publisher of compressed images, while the node reads such."""

    def turn_to(transport):
        assert thrower.change(Transition(id=Transition.TRANSITION_DEACTIVATE))
        assert thrower.set("image_transport", transport).successful
        assert thrower.change(Transition(id=Transition.TRANSITION_ACTIVATE))

    turn_to("compressed")
    wait_for_reader(thrower.compressed_images)
    yield thrower.compressed_images
    turn_to("raw")
    wait_for_reader(thrower.target.images)


def test_broken_compressed_images_are_answered_or_fail_in_a_sentence(thrower, compressed_images):
    rng, count = rng_of("compressed"), 400
    inputs = (hostile.compressed(rng) for _ in range(count))
    became, _ = thrower.frames(inputs, compressed_images)
    assert became["answered"] + became["failed"] + became["dropped"] == became["in"] <= count
    assert became["failed"] > count / 2


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("jpeg", b"no picture", "expected a whole JPEG or PNG"),
        ("{}\x1b[2J" + "x" * 100_000, b"", "expected a whole JPEG or PNG"),
        ("16UC1; compressedDepth png", hostile.encoded(".png", random.Random(1)), "depth image"),
        ("32FC1; compressedDepth rvl", bytes(range(64)), "depth image"),
    ],
    ids=["no picture", "no format", "depth as PNG", "depth as RVL"],
)
def test_a_compressed_image_that_cannot_be_used_is_refused_in_a_sentence(
    thrower, compressed_images, kind, data, said
):
    message = CompressedImage(format=kind, data=data)
    became, last_error = thrower.frames([message], compressed_images)
    assert became["failed"] == 1
    assert said in last_error
    check_sentence(last_error)


def test_small_files_that_claim_gigabytes_are_refused_before_they_are_decoded(
    thrower, compressed_images
):
    before_mib = thrower.target.process.peak_mib
    bombs = dict(hostile.bombs(random.Random(1)))
    messages = [CompressedImage(format=name, data=data) for name, data in bombs.items()]
    became, last_error = thrower.frames(messages, compressed_images)
    assert became["failed"] == len(bombs), became
    check_sentence(last_error)
    assert thrower.target.process.peak_mib - before_mib < BOMBS_MIB


# All together


def test_an_unpaced_storm_of_everything_is_accounted_for(thrower):
    before, _ = thrower.target.settled()
    queries = sum(thrower.query_counts())
    after = thrower.storm()
    assert after["failed"] > before["failed"]
    assert sum(thrower.query_counts()) > queries


def test_after_it_all_the_node_holds_no_more_than_before(thrower):
    process, start = thrower.target.process, thrower.start
    thrower.storm()
    middle = process.footprint()
    for _ in range(3):
        thrower.storm()

    def is_settled():
        now = process.footprint()
        return (
            now.held_mib <= start.held_mib + GROWTH_MIB
            and now.held_mib <= middle.held_mib + STORM_MIB
            and now.threads <= start.threads + THREADS
            and now.files <= start.files + FILES
        )

    print(f"{thrower.thrown} inputs; {start}, {middle}, {process.footprint()}")
    wait_until(is_settled, PATIENCE_S)


def test_every_segment_call_was_counted_and_thousands_of_inputs_were_thrown(thrower):
    """Of all batches: it fails where some were left out."""
    node, _ = thrower.target.health()
    counts = [int(node[f"segment calls{what}: count"]) for what in ("", " answered", " refused")]
    assert counts[0] == thrower.segment_calls == counts[1] + counts[2]
    assert thrower.thrown >= LEAST_INPUTS
