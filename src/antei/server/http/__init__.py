"""The Kubernetes REST API over HTTPS.

    app (routing, authentication, errors) ─► resources (verbs) ─► registry
                                          ├► watch, logs        (streams)
                                          └► discovery, openapi, health

`ApiServer` in `server` owns the listening sockets.
"""
