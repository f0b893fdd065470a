// The conformance job in C++, with exceptions. ../README.md says what each command does.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

// Says on the way out of a frame that its destructor ran.
struct Frame {
    ~Frame() { std::cout << "unwound\n"; }
};

static long long copy(std::istream &from, std::ostream &to) {
    std::vector<char> buffer(64 << 10);
    long long count = 0;
    while (from.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), from.gcount() > 0) {
        to.write(buffer.data(), from.gcount());
        count += from.gcount();
    }
    to.flush();
    if (!to)
        throw std::runtime_error("cannot write");
    return count;
}

using File = std::unique_ptr<std::FILE, int (*)(std::FILE *)>;

// Not with <fstream>, which the libc++ of some distributions lacks for WASI.
static File open(const std::string &path, const char *mode) {
    File file(std::fopen(path.c_str(), mode), std::fclose);
    if (!file)
        throw std::runtime_error("cannot open " + path);
    return file;
}

static void copy_file(const std::string &from, const std::string &to) {
    const File input = open(from, "rb"), output = open(to, "wb");
    std::vector<char> buffer(64 << 10);
    while (const auto length = std::fread(buffer.data(), 1, buffer.size(), input.get()))
        if (std::fwrite(buffer.data(), 1, length, output.get()) != length)
            throw std::runtime_error("cannot write " + to);
}

static void print_random() {
    std::random_device device;
    std::cout << std::hex << device() << device() << device() << device() << '\n';
}

static void print_clock() {
    using std::chrono::steady_clock;
    const auto start = steady_clock::now();
    auto now = start;
    while (now == start)
        now = steady_clock::now();
    std::cout << std::time(nullptr) << ' ' << (now - start).count() << '\n';
}

[[gnu::noinline]] static void fail_on_purpose() {
    std::abort();
}

[[gnu::noinline]] static int number_of(const std::string &text) {
    Frame frame;
    return std::stoi(text);
}

// An exception of the library passes a frame with a destructor, is caught by its base, thrown again and caught again.
static void print_caught() {
    try {
        try {
            std::cout << number_of("x") << '\n';
        } catch (const std::logic_error &) {
            throw;
        }
    } catch (const std::invalid_argument &) {
        std::cout << "caught not a number\n";
    }
}

static int run(const std::vector<std::string> &args) {
    const std::string command = args.empty() ? "" : args[0];
    if (command == "args") {
        for (std::size_t i = 1; i < args.size(); i++)
            std::cout << args[i] << '\n';
    } else if (command == "env") {
        const char *value = std::getenv(args.at(1).c_str());
        if (!value)
            return 3;
        std::cout << value << '\n';
    } else if (command == "cat") {
        copy(std::cin, std::cout);
    } else if (command == "stderr") {
        std::cerr << args.at(1) << '\n';
    } else if (command == "copy") {
        copy_file(args.at(1), args.at(2));
    } else if (command == "exit") {
        return std::stoi(args.at(1));
    } else if (command == "random") {
        print_random();
    } else if (command == "clock") {
        print_clock();
    } else if (command == "stream") {
        std::cerr << copy(std::cin, std::cout) << '\n';
    } else if (command == "trap") {
        fail_on_purpose();
    } else if (command == "catch") {
        print_caught();
    } else {
        return 2;
    }
    return 0;
}

int main(int argc, char **argv) {
    std::ios::sync_with_stdio(false);
    try {
        const int code = run(std::vector<std::string>(argv + 1, argv + argc));
        std::cout.flush();
        return code;
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
