modules_enabled = { "saslauth"; "tls"; "dialback"; "posix" }
pidfile = "/run/prosody/prosody.pid"
certificates = "certs"
log = { info = "*syslog" }
VirtualHost "xmpp.example"
