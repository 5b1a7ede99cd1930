"""Ctrl-C and SIGTERM."""

import os
import signal

import pytest

from maporl_cli.training.stop import STOPS, StopRequest


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_remembered_and_interrupts_nothing(number):
    with StopRequest() as stop:
        assert not stop.requested
        send(number)
        done = sum(range(1000))
    assert (stop.requested, done) == (True, 499500)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_is_not_waited_for(second):
    with StopRequest() as stop:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(second)
    assert stop.requested


def test_a_terminal_that_is_closed_does_not_hurry_however_often_it_is_told():
    with StopRequest() as stop:
        for _ in range(3):
            send(signal.SIGHUP)
    assert stop.requested


def test_under_nohup_a_closed_terminal_stops_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not stop.requested


def test_the_handlers_before_come_back_also_after_an_error():
    before = {number: signal.getsignal(number) for number in STOPS}
    inside = {}

    def fail():
        with StopRequest():
            inside.update({number: signal.getsignal(number) for number in before})
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert all(inside[number] != before[number] for number in before)
    assert {number: signal.getsignal(number) for number in before} == before


def test_two_do_not_share_a_request():
    with StopRequest():
        send(signal.SIGTERM)
    with StopRequest() as fresh:
        assert not fresh.requested
