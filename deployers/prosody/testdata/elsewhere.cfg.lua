VirtualHost "web.example"
	certificate = "/etc/letsencrypt/live/web.example/fullchain.pem"
