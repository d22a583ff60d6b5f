"""SRTP by libsrtp: what seals and opens packets at the parties' ends, called as a C library."""

import ctypes
import os
import threading

# By suite: octets of key and salt, and libsrtp's function that sets the suite in a policy.
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (30, "srtp_crypto_policy_set_rtp_default"),
    "AES_CM_128_HMAC_SHA1_32": (30, "srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32"),
    "AEAD_AES_128_GCM": (28, "srtp_crypto_policy_set_aes_gcm_128_16_auth"),
    "AEAD_AES_256_GCM": (44, "srtp_crypto_policy_set_aes_gcm_256_16_auth"),
}
ROOM = 144  # octets that libsrtp may add to a packet (its SRTP_MAX_TRAILER_LEN)
_ANY_INBOUND, _ANY_OUTBOUND = 2, 3  # libsrtp's srtp_ssrc_type_t


class _Crypto(ctypes.Structure):
    """srtp_crypto_policy_t of libsrtp 2."""

    _fields_ = [
        ("cipher_type", ctypes.c_uint32),
        ("cipher_key_len", ctypes.c_int),
        ("auth_type", ctypes.c_uint32),
        ("auth_key_len", ctypes.c_int),
        ("auth_tag_len", ctypes.c_int),
        ("sec_serv", ctypes.c_uint32),
    ]


class _Policy(ctypes.Structure):
    """srtp_policy_t of libsrtp 2."""

    _fields_ = [
        ("ssrc_type", ctypes.c_uint32),
        ("ssrc_value", ctypes.c_uint32),
        ("rtp", _Crypto),
        ("rtcp", _Crypto),
        ("key", ctypes.c_char_p),
        ("keys", ctypes.c_void_p),
        ("num_master_keys", ctypes.c_ulong),
        ("ekt", ctypes.c_void_p),
        ("window_size", ctypes.c_ulong),
        ("allow_repeat_tx", ctypes.c_int),
        ("enc_xtn_hdr", ctypes.c_void_p),
        ("enc_xtn_hdr_count", ctypes.c_int),
        ("next", ctypes.c_void_p),
    ]


class Stream:
    """One direction of one leg, under one key."""

    def __init__(self, suite, key, outbound):
        self._key = key  # libsrtp reads it during srtp_create only, Python must keep it until then
        policy = _Policy(key=key, window_size=1024, ssrc_type=_ANY_OUTBOUND if outbound
                         else _ANY_INBOUND)  # fmt: skip
        for crypto in (policy.rtp, policy.rtcp):
            getattr(_library(), SUITES[suite][1])(ctypes.byref(crypto))
        self._session = ctypes.c_void_p()
        status = _library().srtp_create(ctypes.byref(self._session), ctypes.byref(policy))
        if status:
            raise OSError(f"srtp_create: status {status}")
        self._work = _library().srtp_protect if outbound else _library().srtp_unprotect
        self._buffer = ctypes.create_string_buffer(2048 + ROOM)
        self._length = ctypes.c_int()

    def work(self, datagram):
        """The datagram sealed, or opened; None if its tag is wrong or it is a replay."""
        self._buffer[: len(datagram)] = datagram
        self._length.value = len(datagram)
        status = self._work(self._session, self._buffer, ctypes.byref(self._length))
        return None if status else self._buffer[: self._length.value]


def new_key(suite):
    """A random master key and salt."""
    return os.urandom(SUITES[suite][0])


_loaded, _loading = None, threading.Lock()


def _library():
    """libsrtp, loaded when first needed: it comes with the packages of the other phones."""
    global _loaded
    with _loading:
        if _loaded is None:
            library = ctypes.CDLL("libsrtp2.so.1")
            library.srtp_init()
            _loaded = library
    return _loaded
