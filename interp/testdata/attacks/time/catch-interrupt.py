# catch-interrupt {"want": "timeout_cpu|timeout_wall"}
while True:
    try:
        while True: len('')
    except KeyboardInterrupt: pass
