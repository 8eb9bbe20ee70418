"""The kubelet. Read it in this order:

    agent            which pods are this node's, one worker for each; what an earlier life left
    pod_worker       one pod: volumes, sandbox, containers in their order, the end, the object's final delete
    container        one container through all its runs: image, configuration, start, back-off
    container_run    one run: postStart, probes, stop, end
    probes/          actions (act) → thresholds (decide, pure) → results (publish changes), worker (when)
    termination      preStop, stop signal, SIGKILL inside one deadline
    status           facts → PodStatus, pure; status_writer: the latest state wins

Whatever else is here serves one of these: environment and volumes/ (what a container finds), hooks, image_pull,
backoff and restarts (pure), admission, registration (Node and Lease), logs, transport (real sockets), files.
"""
