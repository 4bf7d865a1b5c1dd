"""The web console's program: ``clip_surgery_web``."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import socket
import sys
from collections.abc import Sequence

import rclpy
from rclpy.signals import SignalHandlerOptions

from clip_surgery_ros.core.errors import ClipSurgeryError, ConfigError
from clip_surgery_ros.parameters.arguments import USER_ERROR, in_one_line
from clip_surgery_ros.ros.arguments import start, without_ros_arguments
from clip_surgery_ros.web.options import WebOptions, parse_options


def main(args: Sequence[str] | None = None) -> int:
    """Serve the console until it is told to stop.

    :param args: command line, program name first; the process's own by default.
    :return: exit status.
    """
    arguments = list(sys.argv if args is None else args)
    try:
        options = parse_options(without_ros_arguments(arguments)[1:])
        if importlib.util.find_spec("aiohttp") is None:
            raise ConfigError(
                "the web console needs aiohttp: pip install aiohttp, or apt install "
                "python3-aiohttp"
            )
        start(arguments, signal_handler_options=SignalHandlerOptions.NO)
        return asyncio.run(_serve(options))
    except ClipSurgeryError as error:
        print(f"clip_surgery_web: {in_one_line(str(error))}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()
    return 0


async def _serve(options: WebOptions) -> int:
    """Serve until SIGINT or SIGTERM.

    :return: exit status, not 0 when the ROS side ended by itself.
    :raises ConfigError: nobody can listen on the address.
    """
    from aiohttp import web  # an extra, which main() has looked for

    from clip_surgery_ros.web.console import ConsoleNode, RosThread
    from clip_surgery_ros.web.hub import Hub, Mailbox
    from clip_surgery_ros.web.server import Server

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    hub = Hub(lambda wishes, viewers: ros.call(lambda: node.show(wishes, viewers)))
    node = ConsoleNode(options.node, Mailbox(loop, hub.deliver).put, options.table)
    failed = asyncio.Event()

    def on_end() -> None:
        for event in (failed, stopped):
            loop.call_soon_threadsafe(event.set)

    ros = RosThread(node, on_end)
    server = Server(
        options,
        hub,
        lambda ask, answer: ros.call(lambda: node.ask(ask, answer)),
        lambda arrange: ros.call(lambda: node.arrange(arrange)),
    )
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1.0)
    try:
        await runner.setup()
        port = await _listen(web.TCPSite(runner, options.host, options.port), runner, options)
        print(_welcome(options, port), flush=True)
        await stopped.wait()
        return int(failed.is_set())
    finally:
        await runner.cleanup()
        await asyncio.to_thread(ros.stop)


async def _listen(site: object, runner: object, options: WebOptions) -> int:
    """Open the address; return its port.

    :raises ConfigError: nobody can listen there.
    """
    try:
        await site.start()  # type: ignore[attr-defined]
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"nobody can listen on {options.host} port {options.port} ({error}); is another "
            "console running? Choose an address with --host and --port"
        ) from error
    return int(runner.addresses[0][1])  # type: ignore[attr-defined]


def _welcome(options: WebOptions, port: int) -> str:
    """Return what the terminal shows."""
    is_everywhere = options.host in ("0.0.0.0", "::")
    name = socket.gethostname() if is_everywhere else options.host
    name = f"[{name}]" if ":" in name else name
    address = f"http://{name}:{port}/" + (f"#token={options.token}" if options.token else "")
    rights = "watch" if options.read_only else "watch and ask"
    who = "who has this address" if options.token else "on this machine"
    return f"clip_surgery_web: open {address} (everybody {who} can {rights})"


if __name__ == "__main__":
    sys.exit(main())
