#include "server/worker_store.h"

#include <utility>

namespace openp2p::server {

WorkerStore::WorkerStore(std::unique_ptr<Records> records, Post post)
    : records_(std::move(records)), post_(std::move(post)), thread_([this] { work(); }) {}

WorkerStore::~WorkerStore() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

bool WorkerStore::submit(Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() >= kJobsMax) return false;
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
  return true;
}

void WorkerStore::work() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return is_stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job.work(*records_);
    job.work = nullptr;
    post_(std::move(job.done));
  }
}

}  // namespace openp2p::server
