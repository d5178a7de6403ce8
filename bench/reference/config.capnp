using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "disk", disk = (path = "data", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "worker")],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.bundle.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [(className = "SessionDO", uniqueKey = "sessions", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "SESSIONS", durableObjectNamespace = "SessionDO")],
);
