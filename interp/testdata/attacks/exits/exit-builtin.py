# exit-builtin {"want": "exited:4 alive"}
exit(4)
