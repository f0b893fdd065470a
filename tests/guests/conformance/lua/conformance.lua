-- The conformance job in Lua. ../README.md says what each command does.

local function copy(from, to)
    local count = 0
    for block in from:lines(1 << 16) do
        to:write(block)
        count = count + #block
    end
    to:flush()
    return count
end

local function fail_on_purpose()
    error("on purpose")
end

local commands = {
    args = function(...)
        for _, arg in ipairs({...}) do
            print(arg)
        end
    end,
    env = function(name)
        local value = os.getenv(name)
        if not value then
            os.exit(3)
        end
        print(value)
    end,
    cat = function()
        copy(io.stdin, io.stdout)
    end,
    stderr = function(text)
        io.stderr:write(text, "\n")
    end,
    copy = function(from, to)
        local source, target = assert(io.open(from, "rb")), assert(io.open(to, "wb"))
        copy(source, target)
        target:close()
    end,
    exit = function(code)
        os.exit(tonumber(code))
    end,
    random = function()
        print(string.format("%016x%016x", math.random(0), math.random(0)))
    end,
    clock = function()
        local start = os.clock()
        while os.clock() == start do end
        print(string.format("%d %.9f", os.time(), os.clock() - start))
    end,
    stream = function()
        io.stderr:write(copy(io.stdin, io.stdout), "\n")
    end,
    trap = function()
        fail_on_purpose()
    end,
    catch = function()
        if not pcall(function() return "x" + 1 end) then
            print("caught not a number")
        end
    end,
}

local command, rest = ..., {select(2, ...)}
if not commands[command] then
    os.exit(2)
end
commands[command](table.unpack(rest))
