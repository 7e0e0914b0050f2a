#!/bin/sh
# What certlatch validate --all is measured against: for each of certbot's
# lineages, does the chain verify, and is the key that of the certificate?
set -eu
for lineage in /etc/letsencrypt/live/*/; do
	cd "$lineage"
	openssl verify -purpose sslserver -CAfile /root/ca.pem -untrusted chain.pem cert.pem >/dev/null
	[ "$(openssl x509 -in cert.pem -noout -pubkey)" = "$(openssl pkey -in privkey.pem -pubout)" ]
done
