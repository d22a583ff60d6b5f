"""Opus by libopus, called as a C library: what a browser's voice goes through."""

import ctypes
import functools
import struct

_AUDIO, _SET_BITRATE = 2049, 4002  # of opus_defines.h
_RATE, _ROOM = 8000, 1275  # samples a second; octets, the most that a frame can have
BITRATE = 32_000  # what Chromium sends a microphone with


class Encoder:
    """One stream at 8 kHz: the codec's own clock is 48 kHz whatever it is fed with."""

    def __init__(self):
        error = ctypes.c_int()
        self._state = _library().opus_encoder_create(_RATE, 1, _AUDIO, ctypes.byref(error))
        if error.value:
            raise OSError(f"opus_encoder_create: {error.value}")
        _library().opus_encoder_ctl(ctypes.c_void_p(self._state), _SET_BITRATE, BITRATE)
        self._room = ctypes.create_string_buffer(_ROOM)

    def __del__(self):
        _library().opus_encoder_destroy(ctypes.c_void_p(self._state))

    def encode(self, samples):
        """A frame of 16-bit samples as a packet."""
        pcm = struct.pack(f"={len(samples)}h", *samples)
        length = _library().opus_encode(
            ctypes.c_void_p(self._state), pcm, len(samples), self._room, _ROOM
        )
        if length < 0:
            raise OSError(f"opus_encode: {length}")
        return self._room[:length]


@functools.cache
def _library():
    library = ctypes.CDLL("libopus.so.0")
    library.opus_encoder_create.restype = ctypes.c_void_p
    return library
