{{/*
What the services are, apart from what an operator chooses. The ports are libs/runtime's PORTS. `keys` are the entries
of the Secret of keys that a service asks for when it starts or works; that nobody has more is what keeps raw data from
the loader and credentials from everybody but the connector. `nats` says whether it speaks to the bus, `calls` which
other services it calls, `orgs` whether it speaks to the systems that records come from and go to, `scales` whether more
pods share its work. helm/check_rendered.py holds all of them against the sources.
*/}}
{{- define "syncline.services" -}}
gateway: {port: 7600, nats: false, keys: [], calls: [coordinator, connector, analyzer, monitor], orgs: false, scales: false}
coordinator: {port: 7601, nats: true, keys: [], calls: [connector, extractor, masker, loader, monitor], orgs: false, scales: false}
connector: {port: 7602, nats: true, keys: [credentials, kek-raw, kek-clean], calls: [], orgs: true, scales: false}
analyzer: {port: 7603, nats: true, keys: [], calls: [coordinator, connector], orgs: true, scales: false}
extractor: {port: 7604, nats: true, keys: [kek-raw, digest], calls: [coordinator, connector, analyzer], orgs: true, scales: true}
masker: {port: 7605, nats: true, keys: [kek-raw, kek-clean, mask, digest], calls: [coordinator, connector, analyzer, monitor], orgs: false, scales: true}
loader: {port: 7606, nats: true, keys: [kek-clean, digest], calls: [coordinator, connector, analyzer, monitor], orgs: true, scales: true}
monitor: {port: 7607, nats: true, keys: [], calls: [coordinator], orgs: false, scales: false}
{{- end }}
