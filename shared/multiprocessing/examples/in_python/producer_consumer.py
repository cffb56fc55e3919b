from multiprocessing import Process, Queue


def consume(jobs, results):
    for job in iter(jobs.get, None):
        results.put(job * job)
    results.put(None)


if __name__ == "__main__":
    jobs, results = Queue(4), Queue(4)
    consumer = Process(target=consume, args=(jobs, results))
    consumer.start()
    for job in range(1, 5):
        jobs.put(job)
    jobs.put(None)
    print(sum(iter(results.get, None)))
    consumer.join()
