const std = @import("std");

pub fn main(init: std.process.Init) !u8 {
    const io = init.io;
    var out_buffer: [4096]u8 = undefined;
    var err_buffer: [256]u8 = undefined;
    var stdout = std.Io.File.stdout().writerStreaming(io, &out_buffer);
    var stderr = std.Io.File.stderr().writerStreaming(io, &err_buffer);
    defer stderr.interface.flush() catch {};

    var shout = false;
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    for (args[1..]) |arg| {
        if (!std.mem.eql(u8, arg, "--shout")) {
            try stderr.interface.writeAll("usage: {{name}} [--shout] < NAMES\n");
            return 1;
        }
        shout = true;
    }
    const greeting = init.environ_map.get("GREETING") orelse "Hello";

    // A line longer than this buffer is an error.
    var in_buffer: [64 * 1024]u8 = undefined;
    var stdin = std.Io.File.stdin().readerStreaming(io, &in_buffer);
    var greeted: usize = 0;
    while (try stdin.interface.takeDelimiter('\n')) |line| {
        const name = std.mem.trim(u8, line, &std.ascii.whitespace);
        if (name.len == 0) continue;
        for ([_][]const u8{ greeting, ", ", name, "!\n" }) |part| {
            for (part) |byte| {
                try stdout.interface.writeByte(if (shout) std.ascii.toUpper(byte) else byte);
            }
        }
        greeted += 1;
    }
    try stdout.interface.flush();
    if (greeted == 0) {
        try stderr.interface.writeAll("no names on stdin\n");
        return 1;
    }
    return 0;
}
