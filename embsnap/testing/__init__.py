"""What tests of embsnap and of its users build on: snapshots, stores with faults, contract suites."""
