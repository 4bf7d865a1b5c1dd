"""Large best-effort images between two processes, with the Fast DDS profile that is shipped."""

from ros.harness import ROOT, Process

SENDER, RECEIVER = (str(ROOT / "test" / "ros" / f"{x}_images.py") for x in ("send", "receive"))
TOPIC, COUNT = "/transport_test/image_raw", "90"


def test_720p_at_30_hz_for_three_seconds_loses_no_frame():
    with Process(RECEIVER, TOPIC, COUNT) as receiver, Process(SENDER, TOPIC, COUNT) as sender:
        for process in (receiver, sender):
            process.wait_for_line("matched")
        sender.say("send")
        sender.wait_for_line("sent 90")
        line = receiver.wait_for_line("received")
        print(line)
        sender.say("done")
        assert line == "received 90 missing []"
        assert receiver.wait() == sender.wait() == 0
