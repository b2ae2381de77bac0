"""The client's side of a run: graph, scheduler, loop, shutdown, report."""
