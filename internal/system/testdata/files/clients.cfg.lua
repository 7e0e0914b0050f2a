modules_enabled = { "saslauth"; "tls"; "dialback"; "posix" }
pidfile = "/run/prosody/prosody.pid"
c2s_direct_tls_ports = { 5223 }
certificates = "certs"
log = { info = "*syslog" }
VirtualHost "xmpp.example"
