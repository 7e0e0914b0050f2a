-- What an operator adds below Debian's own configuration, whose virtual host
-- localhost has no certificate: prosodyctl check certs fails on every host.
c2s_direct_tls_ports = { 5223 }
s2s_direct_tls_ports = { 5270 }

VirtualHost "chat.example"
	modules_enabled = { "bosh" }

Component "rooms.chat.example" "muc"
