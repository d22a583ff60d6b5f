"""Planted: faults in a copy of the files, each of which its check has to find."""

import shutil

from checks import Failure, expect, replaced

# Of each check: the file, what is taken out, what is put there, and a word of what the check says.
FAULTS = {
    "the Dockerfile is sound": [
        ("container/Dockerfile", "USER 65532:65532", "USER root", "user"),
        ("container/Dockerfile", "# hadolint ignore=DL3008\n", "", "DL3008"),
        ("container/Dockerfile", "rust:1.95-", "rust:1.80-", "toolchain"),
    ],
    "the build gets what it needs and no key": [
        ("container/Dockerfile.dockerignore", "!relay\n", "", "relay is left out"),
        ("container/Dockerfile.dockerignore", "**/*.kek\n", "", "keys that lie about"),
        ("container/Dockerfile.dockerignore", "**/*.pepper\n", "", "keys that lie about"),
    ],
    "the compose file is as its specification has it, and hardened": [
        ("container/compose.yaml", "    read_only: true\n", "    read_onli: true\n", "read_onli"),
        ("container/compose.yaml", "    internal: true\n", "", "back"),
        ("container/compose.yaml", "10000-10399:", "20000-20399:", "ports"),
        ("container/compose.yaml", "cap_drop: [ALL]", "cap_drop: []", "cap_drop"),
        ("container/sotto.toml", "drain_s = 300", "drain_s = 600", "killed"),
        ("container/compose.yaml", "ipv4_address: 172.30.0.2", "ipv4_address: x", "IPv4"),
    ],
    "the image's relay starts on a read-only root, as nobody": [
        ("container/sotto.toml", "behind_tls_proxy = true", "behind_tls_proxy = false", "TLS"),
        ("container/Caddyfile", "172.31.0.2:8080", "172.30.0.2:8080", "by TLS"),
    ],
    "systemd finds no fault with the service": [
        ("systemd/sotto.service", "Restart=on-failure", "Restart=sometimes", "restart"),
        ("systemd/sotto.service", "TimeoutStopSec=330", "TimeoutStopSec=90", "to stop"),
        ("systemd/sotto.service", "LimitCORE=0", "LimitCORE=infinity", "LimitCORE"),
        ("systemd/sotto.service.d/xdp.conf", "PrivateUsers=no", "PrivateUsers=perhaps", "perhaps"),
    ],
    "the service is handed its secrets": [
        ("systemd/sotto.service", "install -m 0400", "install -m 0440", "what the service gets"),
        ("systemd/sotto.service", " || exit 1; done", " ; done ; true", "without its secrets"),
    ],
    "the exposure that systemd finds is as stated": [
        ("systemd/sotto.service", "ProtectSystem=strict", "ProtectSystem=no", "ended with"),
    ],
    "a relay's system calls pass the service's filter": [
        ("systemd/sotto.service", "@system-service memfd_secret", "@basic-io @process", "mmap"),
    ],
    "Kubernetes takes the objects": [
        ("kubernetes/statefulset.yaml", "hostNetwork: true", "hostNetworks: true", "hostNetworks"),
        ("kubernetes/disruption.yaml", "maxUnavailable: 0", "maxUnavailable: [0]", "maxUnavail"),
    ],
    "the pods are confined, and end when the relay has": [
        (
            "kubernetes/statefulset.yaml",
            "readOnlyRootFilesystem: true",
            "readOnlyRootFilesystem: false",
            "readOnly",
        ),
        (
            "kubernetes/statefulset.yaml",
            "terminationGracePeriodSeconds: 330",
            "terminationGracePeriodSeconds: 60",
            "killed",
        ),
        ("kubernetes/network.yaml", "port: 10000", "port: 30000", "media"),
    ],
    "a relay starts as the pod has it": [
        ("kubernetes/sotto.toml", "/run/sotto/recordings.kek", "/run/sotto/other.kek", "other.kek"),
        ("kubernetes/Caddyfile", "X-Forwarded-Proto https", "X-Forwarded-Proto http", "/ by TLS"),
        ("kubernetes/statefulset.yaml", '"/secrets/keys.pepper", ', "", "keys.pepper is missing"),
        ("kubernetes/README.md", "--from-file=$dir/keys.pepper ", "", "keys.pepper"),
        ("kubernetes/README.md", "for file in keys.json keys.pepper", "for file in keys.json", "pep"),
        (
            "kubernetes/statefulset.yaml",
            "name: run, mountPath: /run/sotto }\n            - { name: state",
            "name: run, mountPath: /run/sotto, readOnly: true }\n            - { name: state",
            "can't be ended",
        ),
    ],
    "nginx takes its file": [
        ("proxy/nginx.conf", "proxy_buffering off", "proxy_buffering of", "proxy_buffering"),
    ],
    "Caddy takes its files": [
        ("kubernetes/Caddyfile", "flush_interval -1", "flush_intervall -1", "flush_interval"),
        ("container/Caddyfile", "protocols tls1.2 tls1.3", "protocols tls9", "protocol"),
        ("proxy/Caddyfile", "\theader Strict", "\tlog\n\theader Strict", "access logs"),
    ],
    "a relay behind nginx": [
        (
            "proxy/nginx.conf",
            "TLSv1.2 TLSv1.3;\n    ssl_ciphers         ",
            "TLSv1.1 TLSv1.2 TLSv1.3;\n    ssl_ciphers ALL:@SECLEVEL=0:",
            "TLSv1_1",
        ),
        ("proxy/nginx.conf", "X-Forwarded-Proto https", "X-Forwarded-Proto http", "console"),
        ("proxy/nginx.conf", "$sotto_connection;", "close;", "upgrade"),
        ("proxy/nginx.conf", " if=$sotto_logged", "", "lines for keys"),
        ("proxy/nginx.conf", "$request_method $uri", "$request_method $request_uri", "a ticket"),
        ("proxy/nginx.conf", "client_max_body_size   64k", "client_max_body_size   1m", "body"),
    ],
    "a relay behind Caddy": [
        ("proxy/Caddyfile", "\trespond @health 404\n", "", "/livez"),
        ("proxy/Caddyfile", '\theader Strict-Transport-Security "max-age=31536000"\n', "", "HSTS"),
    ],
    "nft takes the rules": [
        ("firewall/sotto.nft", "policy drop;", "policy accept;", "let in"),
        (
            "firewall/sotto.nft",
            "udp dport $media goto media",
            "udp dport $medium goto media",
            "medium",
        ),
    ],
    "the firewall lets in whom it should": [
        ("firewall/sotto.nft", "update @media4", "# update @media4", "flood"),
        (
            "firewall/sotto.nft",
            "tcp dport 443 ip saddr $users",
            "tcp dport { 443, 8080 } ip saddr $users",
            "8080",
        ),
        ("firewall/sotto.nft", "ip saddr @trunks accept\n\t\tupdate", "update", "trunk"),
    ],
    "ufw knows the profiles": [
        ("firewall/ufw-sotto", "ports=443/tcp", "ports=443/xyz", "Invalid ports"),
        ("firewall/README.md", "app 'Sotto API'", "app 'Sotto TLS'", "Sotto TLS"),
    ],
    "promtool takes the alerts, each of which is tested": [
        (
            "monitoring/alerts.yaml",
            "sotto_ports_free < 2",
            "sotto_ports_free < 3",
            "SottoPortsGone",
        ),
        (
            "monitoring/alerts.yaml",
            "sum by (instance) (increase(sotto_unauthenticated_total[5m]))",
            "increase(sotto_unauthenticated_total[5m])",
            "SottoStrangersWithKeys",
        ),
        (
            "monitoring/alerts.yaml",
            "rate(sotto_media_late_ticks_total[5m])",
            "rate(sotto_media_late",
            "parse error",
        ),
        (
            "monitoring/alerts.test.yaml",
            "- name: SottoDown fires",
            "- name: SottoDown burns",
            "burns",
        ),
    ],
    "the dashboard is one": [
        ("monitoring/dashboard.json", "sum by (reason) (", "sum by (reason) ((", "parse error"),
        ("monitoring/dashboard.json", '"x": 8', '"x": 4', "lies on"),
    ],
    "a relay serves every figure that is named": [
        ("monitoring/alerts.yaml", "sotto_webhooks_pending", "sotto_webhooks_waiting", "waiting"),
        ("monitoring/alerts.yaml", 'outcome="lost"', 'outcome="gone"', "gone"),
        ("monitoring/alerts.yaml", 'reason="no_jwks"', 'reason="no_keys"', "no_keys"),
        (
            "monitoring/dashboard.json",
            "sotto_media_unreadable_frames_total",
            "sotto_calls",
            "unreadable",
        ),
        ("runbook.md", "`sotto_ports_free`", "`sotto_ports_left`", "sotto_ports_left"),
    ],
    "every alert is in the runbook": [
        ("runbook.md", "### SottoFlipSlow", "### SottoFlipFast", "SottoFlipFast"),
    ],
    "every requirement of ASVS is answered, by tests that there are": [
        (
            "asvs.md",
            "`smuggled_requests_are_refused`",
            "`nothing_is_smuggled`",
            "nothing_is_smuggled",
        ),
        ("asvs.md", "| 13.4.7 |", "| 13.4.8 |", "13.4.7"),
    ],
    "every requirement of PCI DSS has a row": [
        ("pci-responsibility-matrix.md", "\n| 9.", "\n| -9.", "principal"),
    ],
    "what a text links to is there": [
        ("README.md", "(runbook.md)", "(runboook.md)", "runboook"),
    ],
    "a recorded call comes back from a backup": [
        ("backup.md", "--exclude='*.kek' ", "", "wraps"),
        ("backup.md", "--exclude='*.kek' ", "--exclude='*.kek' --exclude='*.pepper' ", "pepper"),
        ("backup.md", "(umask 077; tar", "(umask 022; tar", "who may read"),
    ],
}


def seen(name, check, original, work):
    """Each fault of a check is planted in a copy, and found there; the number of faults."""
    for path, old, new, word in FAULTS[name]:
        copy = work / "planted"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(original, copy)
        text = (copy / path).read_text()
        (copy / path).write_text(replaced(text, (old, new)))
        try:
            check(copy)
        except Failure as failure:
            expect(word in str(failure), f"{old!r} to {new!r} in {path}: found as {failure}")
        else:
            expect(False, f"{old!r} to {new!r} in {path} is not found")
    return len(FAULTS[name])
