# A32 {"want": "timeout_cpu alive|timeout_wall alive"}
while True: pass
