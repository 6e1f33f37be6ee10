# exit-big {"want": "exited:255 alive"}
raise SystemExit(10**30)
