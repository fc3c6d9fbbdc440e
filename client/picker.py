"""A list of sound devices over the call's screen, to choose another one during the call."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList
from textual.widgets.option_list import Option
from voicelink_client.devices import list_devices

from voicelink.errors import AudioError

TITLES: Final = {"input": "Microphone", "output": "Loudspeaker"}


class DevicePicker(ModalScreen[str | None]):
    """Closes with what --input or --output would be: a device's number, `default` or `null`; None for no change."""

    CSS = """
    DevicePicker { align: center middle; }
    DevicePicker > Label { width: 60; padding: 0 1; background: $panel; text-style: bold; }
    DevicePicker > OptionList { width: 60; height: auto; max-height: 70%; border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", "no change", priority=True)]

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def compose(self) -> ComposeResult:
        """The list, to be filled."""
        yield Label(f"{TITLES[self._kind]}: Enter takes it, Esc leaves it as it is")
        yield OptionList(Option("the system's default", id="default"), Option("none", id="null"))

    def on_mount(self) -> None:
        """Ask for the devices beside the call: that may take a moment."""
        self.query_one(OptionList).focus()
        self.run_worker(self._fill())

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Taken."""
        self.dismiss(event.option.id)

    async def _fill(self) -> None:
        options = self.query_one(OptionList)
        try:
            devices = await asyncio.to_thread(list_devices)
        except AudioError as error:
            options.add_option(Option(str(error), disabled=True))
            return
        options.add_options([Option(named(d), id=str(d["number"])) for d in devices if d[f"{self._kind}s"]])


def named(device: dict[str, Any]) -> str:
    """A device as `voicelink devices` numbers it, on one line."""
    return f"{device['number']}: {device['name']} ({device['rate_hz'] / 1000:g} kHz)"
