"""The cluster's network: an address for each pod, Services, DNS, Ingress, and their ports on the host's loopback.

    network              the whole, and which of the two modes it runs in
    pods, links          pod addresses and namespaces; what the kernel is told about them
    services             which connections go where, pure ─► proxy keeps it in force ─► nftables | publishing + relay
    dns_zone, dns        what names mean, pure; the server
    ingress_rules        which request goes to which Service, pure ─► ingress_controller, ingress, http_exchange

Without privileges (`loopback` mode) pods share the host's network. Each still has an address of its own, 127.x for
10.x, and so has each Service, served by the relay over TCP; UDP Services are not served, pods that listen on every
address collide on a port, and two such clusters on one machine share one set of addresses.
"""
