"""Queries in the list syntax of other tools, and unknown names, over topics and services."""

import pytest
from clip_surgery_ros.msg import TextQuery
from clip_surgery_ros.srv import SetQuery
from diagnostic_msgs.msg import DiagnosticStatus
from ros.harness import wait_for_reader
from ros.rig import CONFIGURE, PIXELS
from std_msgs.msg import Header, String

from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.ros.images import image_message

KNOWN = Vocabulary(("hammer", "saw"))
LISTS = ('["mug", "saw"]', '"mug", "saw"', "mug . saw .", "mug，saw", "'mug', 'saw'")


@pytest.mark.parametrize("text", LISTS)
def test_every_topic_and_service_reads_lists_of_other_tools(active, text):
    assert list(active.ask(text).labels) == ["mug", "saw"]
    wait_for_reader(active.text_queries)
    before = len(active.echo.messages)
    active.text_queries.publish(TextQuery(labels=[text, "'axe'"], thresholds=[0.25, 0.5]))
    echo = active.echo.wait(after=before)
    assert (list(echo.labels), list(echo.thresholds)) == (["mug", "saw", "axe"], [0.25, 0.25, 0.5])
    answer = active.call(SetQuery, "set_query", SetQuery.Request(labels=[text]))
    assert answer.success and answer.message.endswith("mug; saw")
    answer = active.ask_segment(image=image_message(PIXELS, "rgb8", Header()), labels=[text])
    assert list(answer.result.query.labels) == ["mug", "saw"]
    before = len(active.echo.messages)
    assert active.set("default_query", text).successful
    assert list(active.echo.wait(after=before).labels) == ["mug", "saw"]


def test_every_topic_and_service_rejects_ambiguous_queries_with_a_correction(active):
    sequence = active.ask("axe").sequence
    active.queries.publish(String(data="mug. saw"))
    status = active.health(lambda statuses: "full stop" in statuses[0].message)[0]
    assert "'mug; saw'" in status.message and status.level == DiagnosticStatus.WARN
    answer = active.call(SetQuery, "set_query", SetQuery.Request(labels=["mug. saw"]))
    assert not answer.success and "'mug; saw'" in answer.message
    assert answer.sequence == sequence
    answer = active.ask_segment(
        image=image_message(PIXELS, "rgb8", Header()), labels=['["mug", "saw"']
    )
    assert not answer.success and "'mug; saw'" in answer.message
    result = active.set("default_query", "mug. saw")
    assert not result.successful and "'mug; saw'" in result.reason


def test_unknown_names_of_a_query_are_reported(active, capfd):
    active.networks.vocabulary = KNOWN
    request = SetQuery.Request(labels=["giraffe", "the saws"])
    answer = active.call(SetQuery, "set_query", request)
    assert answer.success
    assert "does not know the word 'giraffe'" in answer.message
    active.health(lambda statuses: "does not know the word 'giraffe'" in statuses[0].message)
    log = capfd.readouterr().err
    assert "does not know the word 'giraffe'" in log
    assert "'the saws' is read as 'saw'" in log
    active.ask("saw")
    active.health(lambda statuses: statuses[0].message == "ready")


def test_unknown_names_of_the_default_query_are_reported_when_networks_load(rigs, capfd):
    rig = rigs(default_query="red hammer")
    rig.networks.vocabulary = KNOWN
    assert "does not know" not in capfd.readouterr().err
    assert rig.change(CONFIGURE)
    assert "it knows 'hammer'" in capfd.readouterr().err
