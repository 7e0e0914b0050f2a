#!/bin/sh
# What certlatch is measured against: a deploy hook of certbot's for nginx,
# Kamailio and Prosody that does all that a shell can reasonably do, with as few
# processes as it can be done with. It checks the pair before it touches anything,
# installs each file with its owner and mode in one rename, has nginx and Prosody
# test what they are about to load, does not take kamcmd's exit status for an answer,
# and looks until each service shows the new leaf. It cannot go back.
#
# With "together" it does so for the three services side by side.
set -eu
umask 077

fail() {
	echo "$0: $*" >&2
	exit 1
}

ca=/root/ca.pem
cd "$RENEWED_LINEAGE"

openssl verify -purpose sslserver -CAfile "$ca" -untrusted chain.pem cert.pem >/dev/null || fail "the chain does not verify"
leaf=$(openssl x509 -in cert.pem -noout -fingerprint -sha256 -pubkey -ext subjectAltName)
case $leaf in
*"$(openssl pkey -in privkey.pem -pubout)"*) ;;
*) fail "the key is not that of the certificate" ;;
esac
for name in web.example sip.example xmpp.example; do
	case $leaf in
	*DNS:$name*) ;;
	*) fail "the certificate is not for $name" ;;
	esac
done

# put FILE PATH OWNER GROUP MODE
put() {
	install -o "$3" -g "$4" -m "$5" "$1" "$2.new"
	mv -f "$2.new" "$2"
}

# shows ADDRESS [OPTION...] waits until a handshake shows the new leaf.
shows() {
	looks=0
	while :; do
		served=$(timeout 5 openssl s_client -connect "$@" </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256 2>/dev/null) || :
		case $leaf in
		*"${served:-nothing}"*) return ;;
		esac
		looks=$((looks + 1))
		[ "$looks" -lt 500 ] || fail "$1 does not show the new leaf"
		sleep 0.02
	done
}

web() {
	put fullchain.pem /etc/nginx/tls/fullchain.pem root root 0644
	put privkey.pem /etc/nginx/tls/privkey.pem root root 0600
	nginx -t -q
	systemctl reload nginx
	shows 127.0.0.1:443 -servername web.example
}

sip() {
	put fullchain.pem /etc/kamailio/tls/fullchain.pem root kamailio 0640
	put privkey.pem /etc/kamailio/tls/privkey.pem root kamailio 0640
	case $(kamcmd tls.reload) in
	*[Oo]k*) ;;
	*) fail "Kamailio did not reload" ;;
	esac
	shows 127.0.0.1:5061 -servername sip.example
}

chat() {
	put fullchain.pem /etc/prosody/certs/xmpp.example.crt root prosody 0640
	put privkey.pem /etc/prosody/certs/xmpp.example.key root prosody 0640
	prosodyctl check certs >/dev/null
	systemctl reload prosody
	shows 127.0.0.1:5222 -starttls xmpp -xmpphost xmpp.example -servername xmpp.example
	shows 127.0.0.1:5269 -starttls xmpp-server -xmpphost xmpp.example -servername xmpp.example
}

if [ "${1:-}" = together ]; then
	web & web=$!
	sip & sip=$!
	chat & chat=$!
	wait $web && wait $sip && wait $chat
else
	web
	sip
	chat
fi
