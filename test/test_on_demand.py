"""Only outputs with subscribers are computed: the tests count the stages that ran."""

import itertools
from collections import Counter

import pytest
from ros.harness import destroy, wait_until
from ros.known_scene import known_scene
from ros.rig import wait_frames, wait_readers
from std_msgs.msg import Header

from clip_surgery_ros.networks.factory import load_networks
from clip_surgery_ros.ros.images import image_message
from clip_surgery_ros.ros.outputs import OUTPUTS

NUMBERS = itertools.count()
SEGMENTATION = {"points", "sam encoder", "sam decoder", "masks"}


@pytest.fixture
def shipped_rig(rigs):
    """Give an active node with the shipped networks and a query for the objects of the scene."""
    rig = rigs(load=load_networks, distractors=False)
    rig.activate()
    scene = known_scene()
    rig.ask("; ".join(scene.names))

    rig.show_scene = lambda frame_id: rig.show(frame_id, unique_image(scene.image))
    return rig


def unique_image(image_rgb):
    """Return an image message that differs from all earlier ones in one bit."""
    message = image_message(image_rgb, "rgb8", Header())
    message.data[next(NUMBERS)] ^= 1
    return message


def stages_of_a_frame(rig, frame_id):
    """Show a frame; return how often each stage ran for it."""
    before, answered = rig.node.tally.counts, rig.node.cameras[0].tally.counts["answered"]
    rig.show_scene(frame_id)
    wait_frames(rig, "answered", answered + 1)
    return Counter(rig.node.tally.counts) - Counter(before)


def test_frame_without_subscribers_runs_no_stage(shipped_rig):
    for count in (1, 2, 3):
        shipped_rig.show_scene("unread")
        wait_frames(shipped_rig, "skipped: nobody reads", count)
    assert not shipped_rig.node.tally.counts


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.name)
def test_one_subscribed_output_runs_only_its_stages(shipped_rig, output):
    inbox = shipped_rig.inbox(output.message_type, output.name, output.make_qos())
    wait_readers(shipped_rig, output.name)
    ran = stages_of_a_frame(shipped_rig, "read")
    inbox.wait()
    shared = {"convert", "text", "clip", "maps", f"publish {output.name}"}
    assert ran == Counter(shared | (SEGMENTATION if output.needs_segments else set()))


def test_repeated_image_runs_no_network(shipped_rig):
    inbox = shipped_rig.inbox(OUTPUTS[0].message_type, OUTPUTS[0].name)
    wait_readers(shipped_rig, OUTPUTS[0].name)
    stages_of_a_frame(shipped_rig, "first")
    last = shipped_rig.node.cameras[0].newest_image
    shipped_rig.show_scene = lambda frame_id: shipped_rig.show(frame_id, last)
    ran = stages_of_a_frame(shipped_rig, "again")
    assert not {"clip", "sam encoder", "sam decoder", "masks"} & set(ran)
    assert inbox.wait_count(2)[1].segments


def test_subscriptions_can_change_between_frames(shipped_rig):
    by_name = {output.name: output for output in OUTPUTS}
    heatmap, overlay = by_name["heatmap"], by_name["overlay"]
    shipped_rig.inbox(heatmap.message_type, "heatmap")
    wait_readers(shipped_rig, "heatmap")
    assert "sam encoder" not in stages_of_a_frame(shipped_rig, "heatmap only")
    subscription = shipped_rig.outside.create_subscription(
        overlay.message_type, "/clip_surgery/overlay", lambda _: None, overlay.make_qos()
    )
    wait_readers(shipped_rig, "heatmap", "overlay")
    ran = stages_of_a_frame(shipped_rig, "both")
    assert ran["sam encoder"] == ran["publish overlay"] == ran["publish heatmap"] == 1
    destroy(shipped_rig.outside, subscription)
    wait_until(lambda: len(shipped_rig.node.cameras[0].subscribed_outputs()) == 1)
    ran = stages_of_a_frame(shipped_rig, "heatmap again")
    assert ran["publish heatmap"] == 1 and not {"sam encoder", "publish overlay"} & set(ran)


def test_sam_does_not_run_when_all_labels_are_absent(rigs):
    rig = rigs(load=load_networks, presence_threshold=1.0)
    rig.activate()
    rig.show_scene = lambda frame_id: rig.show(frame_id, unique_image(known_scene().image))
    rig.ask("fire engine")
    rig.inbox(OUTPUTS[0].message_type, OUTPUTS[0].name)
    wait_readers(rig, OUTPUTS[0].name)
    assert "sam encoder" not in stages_of_a_frame(rig, "nothing there")
