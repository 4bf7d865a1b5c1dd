"""Work that nobody reads is not done, output by output: proven by the stages that ran."""

import itertools
from collections import Counter

import pytest
from ros.harness import wait_until
from ros.known_scene import known_scene
from ros.rig import wait_frames, wait_readers
from std_msgs.msg import Header

from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.outputs import OUTPUTS

NUMBERS = itertools.count()
SEGMENTER = {"points", "sam encoder", "sam decoder", "masks"}


@pytest.fixture
def seeing(rigs):
    """A node with the networks that are shipped, asked for what its camera sees."""
    rig = rigs(load=load_networks, distractors=False)
    rig.activate()
    scene = known_scene()
    rig.ask("; ".join(scene.names))

    rig.look = lambda frame_id: rig.show(frame_id, flickering(scene.image))
    return rig


def flickering(image_rgb):
    """An image message that is no other's exact repetition."""
    message = image_message(image_rgb, "rgb8", Header())
    message.data[next(NUMBERS)] ^= 1
    return message


def stages_of_a_frame(rig, frame_id):
    """Stages that ran for one frame, as often as they did."""
    before, answered = rig.node.tally.counts, rig.node.cameras[0].tally.counts["answered"]
    rig.look(frame_id)
    wait_frames(rig, "answered", answered + 1)
    return Counter(rig.node.tally.counts) - Counter(before)


def test_nobody_listening_nothing_computed(seeing):
    for count in (1, 2, 3):
        seeing.look("unread")
        wait_frames(seeing, "skipped: nobody reads", count)
    assert not seeing.node.tally.counts


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.name)
def test_only_what_is_read_is_computed(seeing, output):
    inbox = seeing.inbox(output.message_type, output.name, output.make_qos())
    wait_readers(seeing, output.name)
    ran = stages_of_a_frame(seeing, "read")
    inbox.wait()
    shared = {"convert", "text", "clip", "maps", f"publish {output.name}"}
    assert ran == Counter(shared | (SEGMENTER if output.needs_segments else set()))


def test_a_frame_that_was_answered_before_costs_nothing(seeing):
    inbox = seeing.inbox(OUTPUTS[0].message_type, OUTPUTS[0].name)
    wait_readers(seeing, OUTPUTS[0].name)
    stages_of_a_frame(seeing, "first")
    last = seeing.node.cameras[0].newest_image
    seeing.look = lambda frame_id: seeing.show(frame_id, last)
    ran = stages_of_a_frame(seeing, "again")
    assert not {"clip", "sam encoder", "sam decoder", "masks"} & set(ran)
    assert inbox.wait_count(2)[1].segments


def test_what_is_read_may_change_from_frame_to_frame(seeing):
    by_name = {output.name: output for output in OUTPUTS}
    heatmap, overlay = by_name["heatmap"], by_name["overlay"]
    seeing.inbox(heatmap.message_type, "heatmap")
    wait_readers(seeing, "heatmap")
    assert "sam encoder" not in stages_of_a_frame(seeing, "heatmap only")
    viewer = seeing.outside.create_subscription(
        overlay.message_type, "/clip_surgery/overlay", lambda _: None, overlay.make_qos()
    )
    wait_readers(seeing, "heatmap", "overlay")
    ran = stages_of_a_frame(seeing, "both")
    assert ran["sam encoder"] == ran["publish overlay"] == ran["publish heatmap"] == 1
    seeing.outside.destroy_subscription(viewer)
    wait_until(lambda: len(seeing.node.cameras[0].subscribed_outputs()) == 1)
    ran = stages_of_a_frame(seeing, "heatmap again")
    assert ran["publish heatmap"] == 1 and not {"sam encoder", "publish overlay"} & set(ran)


def test_without_a_label_in_the_picture_the_segmenter_rests(rigs):
    rig = rigs(load=load_networks, presence_threshold=1.0)
    rig.activate()
    rig.look = lambda frame_id: rig.show(frame_id, flickering(known_scene().image))
    rig.ask("fire engine")
    rig.inbox(OUTPUTS[0].message_type, OUTPUTS[0].name)
    wait_readers(rig, OUTPUTS[0].name)
    assert "sam encoder" not in stages_of_a_frame(rig, "nothing there")
