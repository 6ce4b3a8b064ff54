"""Wire format of Honed: the protobuf messages of package `honed.v1`."""
